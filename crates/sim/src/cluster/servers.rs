//! Servers' processes: one that leads, and those that have lost the lead and do not know it yet.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use accelnet_server::{Clock, Server, Settings, membership};
use jiff::SignedDuration;
use tokio::{
    sync::watch,
    task::{JoinHandle, yield_now},
};

use super::{Cluster, Happening};
use crate::{
    net::Serving,
    store::{Leash, SimStore},
};

/// A server's process.
pub(super) struct ServerProcess {
    leash: Arc<Leash>,
    lives: watch::Sender<bool>,
    work: JoinHandle<()>,
}

impl ServerProcess {
    fn die(self) {
        self.leash.kill();
        self.work.abort();
        self.lives.send_replace(false);
    }
}

impl Cluster {
    pub(super) async fn start_server(&mut self) {
        if self.server.is_some() {
            return;
        }
        self.scene.step("a server starts");
        let leash = Arc::new(Leash::default());
        let store = SimStore::new(
            Arc::clone(&self.store),
            self.scene.clone(),
            Arc::clone(&leash),
        );
        let its_leash = Arc::clone(&leash);
        let (lives, watched) = watch::channel(true);
        let (net, store) = (self.net.clone(), Arc::new(store));
        let settings = Settings {
            clock: self.clock(),
            ..Settings::default()
        };
        // It has the doors as soon as it has read its state; if it cannot read it ends, as the real one.
        let work = tokio::spawn(async move {
            let addresses = vec!["server1:7643".to_owned()];
            let Ok(authority) = membership::founded(&*store).await else {
                return;
            };
            let server = Server::of_cluster(store, Arc::new(authority), addresses, settings).await;
            let Ok(server) = server else { return };
            // One that was deposed while it began does not take the doors from the one that leads: in earnest each has
            // its own, and agents look for whoever decides.
            if its_leash.is_deposed() {
                return;
            }
            net.set_serving(Some(Serving {
                router: server.router(),
                lives: watched,
            }));
            server.work(std::future::pending()).await;
        });
        self.server = Some(ServerProcess { leash, lives, work });
        for _ in 0..3 {
            yield_now().await;
        }
    }

    /// The time of day, which goes by with the run's own time: how far a server is must not follow from how fast the
    /// machine is that simulates it. It is that of its machine, whoever leads there.
    pub(super) fn clock(&self) -> Clock {
        let (began, at, off) = (self.began, self.began_at, Arc::clone(&self.clock_off));
        let off = move || SignedDuration::from_secs(off.load(Ordering::Relaxed).into());
        Clock::new(move || at + began.elapsed() + off())
    }

    /// Somebody sets it.
    pub(super) fn set_clock(&self, off: i32) {
        self.clock_off.store(off, Ordering::Relaxed);
    }

    pub(super) fn kill_server(&mut self) {
        self.end_deposed();
        if let Some(server) = self.server.take() {
            self.scene.step("the server is killed");
            self.net.set_serving(None);
            server.die();
        }
    }

    pub(super) fn end_deposed(&mut self) {
        self.deposed.drain(..).for_each(ServerProcess::die);
    }

    /// Its lease is over, which it finds when it writes; another leads from now on, and reads its state.
    pub(super) async fn depose(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        server.leash.depose();
        self.deposed.push(server);
        self.after(Duration::from_secs(8), Happening::EndDeposed);
        self.start_server().await;
    }

    /// A server that cannot read its state ends, and is started again by whoever watches it.
    pub(super) fn notice_the_servers_end(&mut self) {
        let ended = |server: &ServerProcess| server.work.is_finished();
        if self.server.as_ref().is_some_and(ended) {
            self.kill_server();
            self.after(Duration::from_secs(5), Happening::StartServer);
        }
    }
}
