//! Servers that stand by: whether they answer, as the one that decides sees it.
//!
//! Where a server is it has announced once, and that stays when it ends: agents look for it there. Whether it is there is
//! seen by connecting to it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use tokio::{net::TcpStream, time::timeout};

/// They are looked at so often: a fault of it opens after a minute.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A machine that has lost its power refuses nothing.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// What was seen of them last.
#[derive(Debug, Default)]
pub struct Standbys(Mutex<BTreeMap<String, Option<String>>>);

impl Standbys {
    /// Looks at these, and at no others from now on.
    pub async fn look(&self, addresses: impl Iterator<Item = &str>) {
        let looks = addresses.map(async |address| (address.to_owned(), silence(address).await));
        let seen = join_all(looks).await.into_iter().collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// Why one gave no answer; `None` if it gave one, or was not looked at yet.
    pub fn silence(&self, address: &str) -> Option<String> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(address).cloned().flatten()
    }

    /// Those that gave no answer, and why.
    pub fn silent(&self) -> Vec<(String, String)> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = seen
            .iter()
            .filter_map(|(address, why)| Some((address.clone(), why.clone()?)));
        silent.collect()
    }
}

/// Why nobody answers there, if nobody does.
async fn silence(address: &str) -> Option<String> {
    match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", CONNECT_LIMIT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn one_that_ends_is_silent_and_one_that_is_forgotten_is_not_told_of() {
        let open = async || {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            (listener.local_addr().unwrap().to_string(), listener)
        };
        let ((one, _stays), (other, ends)) = (open().await, open().await);
        let standbys = Standbys::default();
        let both = || [one.as_str(), other.as_str()].into_iter();
        assert_eq!(standbys.silence(&one), None);
        standbys.look(both()).await;
        assert_eq!(standbys.silent(), []);
        drop(ends);
        standbys.look(both()).await;
        assert_eq!(standbys.silence(&one), None);
        let silent = standbys.silent();
        assert_eq!(silent.len(), 1);
        assert!(
            silent[0].0 == other && silent[0].1.contains("refused"),
            "{silent:?}"
        );
        standbys.look([one.as_str()].into_iter()).await;
        assert_eq!(standbys.silent(), []);
    }
}
