//! A list, as a page of it or as a watch: the same for adapters, intents and nodes.

use accelnet_api::Items;
use accelnet_model::Problem;
use axum::response::Response;
use serde::Serialize;

use super::{Asking, Condition, Listing, stream};
use crate::{
    Server,
    apart::apart,
    boards::{Boards, Slot},
    failure::Failure,
    page::Page,
    reports::Seen,
    state::Wish,
};

/// What lists are of.
pub trait Listed: Serialize + PartialEq + Send + Sync + Sized + 'static {
    /// All of them.
    fn all(wish: &Wish, seen: &Seen) -> Vec<Self>;
    /// Its identity, by which lists are in order.
    fn key(&self) -> String;
    /// Where those look who watch.
    fn slot(boards: &Boards) -> &Slot<Self>;
}

/// Answers as it is asked for.
pub async fn answer<T: Listed>(
    server: &Server,
    condition: Condition,
    listing: Listing,
) -> Result<Response, Failure> {
    match listing.asking()? {
        Asking::Page(page) => condition.answer(look::<T>(server, page)).await,
        Asking::Watch(from) => {
            let reader = server.read(
                T::slot,
                |wish, seen| {
                    let all = T::all(wish, seen).into_iter();
                    all.map(|one| (one.key(), one)).collect()
                },
                from.as_deref(),
            );
            Ok(stream::read(reader?))
        }
    }
}

async fn look<T: Listed>(server: &Server, page: Page) -> Result<Items<T>, Problem> {
    let (wish, seen) = (server.wish().await?, server.seen());
    Ok(apart(|| page.of(T::all(&wish, &seen), T::key)))
}
