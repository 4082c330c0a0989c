//! The text that was made last.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use super::Text;

/// It is made at most once in this time, however often it is asked for.
pub const REST: Duration = Duration::from_secs(1);
/// And rests for so many times as long as it took: of a large cluster it is a twentieth of a core at most.
pub const REST_TIMES: u32 = 20;

/// Until when the last text serves, and what it is.
type Made = (Instant, Arc<[u8]>);

/// The text that was made last. Of those who ask together one has it made, and the others wait for that.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Option<Made>>);

impl Kept {
    /// The text, made anew if the last one is too old.
    pub async fn bytes(&self, make: impl Future<Output = Text>) -> Arc<[u8]> {
        let mut kept = self.0.lock().await;
        let begun = Instant::now();
        if let Some((until, bytes)) = &*kept
            && begun < *until
        {
            return Arc::clone(bytes);
        }
        let bytes: Arc<[u8]> = make.await.written().into_bytes().into();
        let ended = Instant::now();
        let rest = REST.max((ended - begun).saturating_mul(REST_TIMES));
        *kept = Some((ended + rest, Arc::clone(&bytes)));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::sleep;

    use super::{super::table::SERVER_ACTIVE, *};

    #[tokio::test(start_paused = true)]
    async fn a_thousand_who_ask_at_once_are_told_what_one_look_found() {
        let (kept, made) = (Kept::default(), Cell::new(0u64));
        let look = async |takes: Duration| {
            sleep(takes).await;
            made.set(made.get() + 1);
            let mut text = Text::default();
            text.put(&SERVER_ACTIVE, &[], made.get());
            text
        };
        let quick = Duration::from_millis(1);
        for _ in 0..1000 {
            kept.bytes(look(quick)).await;
        }
        assert_eq!(made.get(), 1);
        sleep(REST).await;
        let bytes = kept.bytes(look(Duration::from_secs(1))).await;
        assert!(bytes.ends_with(b"accelnet_server_active 2\n"));
        // What took long rests longer.
        sleep(REST * 19).await;
        kept.bytes(look(quick)).await;
        assert_eq!(made.get(), 2);
        sleep(REST * 2).await;
        kept.bytes(look(quick)).await;
        assert_eq!(made.get(), 3);
    }
}
