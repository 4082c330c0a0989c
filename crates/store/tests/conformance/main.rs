//! One suite of cases, the same for every backend, and what only a file has to prove.
//!
//! A case is an async function that is generic over [`backend::Backend`]; the table below runs each
//! over each. A new backend adds a module beside the others in the macro. `model` compares those
//! in this process with another, naive implementation on random input.
//!
//! Nothing is said of a revision but that it grows: on an etcd that is shared, as it is here, others
//! make it grow too.

mod backend;
mod damage;
#[cfg(feature = "etcd")]
mod etcd;
mod file;
mod history;
mod kill;
mod limit;
mod list;
mod model;
mod txn;
mod watch;

macro_rules! conformance {
    ($($area:ident { $($case:ident,)* })*) => {
        mod memory {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    crate::$area::$case::<crate::backend::Memory>().await;
                }
            )*)*
        }

        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    crate::$area::$case::<crate::backend::Sqlite>().await;
                }
            )*)*
        }

        #[cfg(feature = "etcd")]
        mod on_etcd {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    crate::$area::$case::<crate::etcd::Etcd>().await;
                }
            )*)*
        }
    };
}

conformance! {
    txn {
        t01_a_new_store_is_empty,
        t02_a_put_is_read_back_with_its_revisions,
        t03_versions_count_writes_and_start_again_after_a_delete,
        t04_the_revision_grows_with_each_change_and_nothing_else_is_one,
        t05_a_transaction_happens_as_a_whole,
        t06_a_failed_compare_does_nothing_and_says_what_is_there,
        t07_a_compare_guards_other_keys,
        t08_racing_increments_lose_nothing,
        t09_of_racing_creators_one_wins,
        t10_an_empty_value_is_not_an_absent_key,
    }
    list {
        l01_a_prefix_is_matched_as_text,
        l02_items_are_in_byte_order,
        l03_pages_join_without_gap_or_overlap,
        l04_pages_are_of_one_revision_while_others_write,
        l05_a_page_of_large_items_ends_early,
        l06_after_may_be_any_text,
        l07_list_all_reads_all_pages,
    }
    history {
        h01_the_past_can_be_read,
        h02_compaction_keeps_what_is_current,
        h03_compaction_is_told_to_watches_and_reads,
        h04_large_values_shorten_the_history,
        h05_the_future_is_refused,
    }
    watch {
        w01_a_watch_from_now_sees_what_comes,
        w02_a_watch_from_the_past_sees_what_was,
        w03_a_watch_sees_its_prefix_only,
        w04_a_transaction_arrives_as_a_whole,
        w05_events_say_what_was_before,
        w06_every_event_once_and_in_order_under_concurrent_writes,
        w07_list_then_watch_misses_nothing,
        w08_a_slow_watcher_is_cut_off_and_holds_up_nobody,
        w09_giving_up_waiting_loses_nothing,
        w10_a_quiet_watch_can_resume_where_the_store_is,
        w11_closing_the_store_ends_a_watch_after_its_last_event,
    }
    limit {
        b01_keys,
        b02_values,
        b03_ops_and_compares,
        b04_a_key_is_changed_once_in_a_transaction,
        b05_the_whole_transaction,
        b06_pages,
        b07_the_largest_transaction_fits,
    }
}
