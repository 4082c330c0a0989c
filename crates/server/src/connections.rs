//! Connections: taken one by one, told apart by their senders, and let go in time.
//!
//! A connection on which nothing is asked for a while, or of which a request does not come to its end, is
//! closed: whoever left it open costs a descriptor, and those are for machine and VMs. When there is none
//! left at all, those who ask are told so.

mod door;
mod spoken;

use std::{
    convert::Infallible,
    fs::File,
    future::Future,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
};
use futures::future::join_all;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::io::Errno;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tower::ServiceExt;

use crate::people::Sender;
pub use door::Door;
use door::Taken;
use spoken::Spoken;

/// A request's head is there within this, counted from the answer before it; hyper's own default.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// Requests under way may take so long once the server shall stop.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// While no descriptor is left it is tried again this often.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Serves at several doors until `stop` is done; requests under way come to their end, within some seconds.
pub async fn serve_all(doors: Vec<Door>, router: Router, stop: impl Future<Output = ()> + Send) {
    let (stopping, stopped) = watch::channel(false);
    let serving = doors.into_iter().map(|door| {
        let mut stopped = stopped.clone();
        serve(door, router.clone(), async move {
            told_to_stop(&mut stopped).await;
        })
    });
    let stop = async {
        stop.await;
        stopping.send_replace(true);
        tokio::time::sleep(STOP_LIMIT).await;
    };
    tokio::select! {
        _ = join_all(serving) => {}
        () = stop => tracing::warn!("requests under way are cut off"),
    }
}

/// Serves until `stop` is done; requests under way come to their end.
async fn serve(door: Door, router: Router, stop: impl Future<Output = ()> + Send) {
    let most = door.connections_max();
    let places = Arc::new(Semaphore::new(most as usize));
    let (stopping, stopped) = watch::channel(false);
    let taking = take_all(&door, &router, &places, &stopped);
    tokio::select! {
        () = stop => {}
        () = taking => {}
    }
    // Nobody is taken any more, and nobody waits in vain.
    drop(door);
    stopping.send_replace(true);
    // An error would mean that the places are gone, and with them the connections.
    let _ = places.acquire_many(most).await;
}

async fn take_all(
    door: &Door,
    router: &Router,
    places: &Arc<Semaphore>,
    stopped: &watch::Receiver<bool>,
) {
    let mut spare = Spare::new();
    while let Some(place) = a_place(places, door.connections_max()).await {
        match door.accept().await {
            Ok(taken) => {
                spare.there_are_others();
                let (router, stopped) = (router.clone(), stopped.clone());
                drop(tokio::spawn(let_in(taken, router, stopped, place)));
            }
            // It went away before it was taken (accept(2)).
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                spare.refuse_one(door, &error).await;
                // Nothing tells when a descriptor is free: the listener stays ready meanwhile.
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    }
}

async fn a_place(places: &Arc<Semaphore>, most: u32) -> Option<OwnedSemaphorePermit> {
    if let Ok(place) = Arc::clone(places).try_acquire_owned() {
        return Some(place);
    }
    tracing::warn!("all {most} connections are in use; others wait until one ends");
    Arc::clone(places).acquire_owned().await.ok()
}

/// Whoever has come is served once it is known who that is.
async fn let_in(
    taken: Taken,
    router: Router,
    stopped: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    match taken {
        Taken::Local(stream) => {
            let sender = door::local_sender(&stream);
            connection(stream, sender, router, stopped).await;
        }
        Taken::Network {
            stream,
            address,
            tls,
        } => {
            if let Some((stream, sender)) = door::shake_hands(stream, address, tls).await {
                connection(stream, sender, router, stopped).await;
            }
        }
        Taken::Anybody { stream, address } => {
            let sender = Sender::Remote {
                address,
                node: None,
            };
            connection(stream, sender, router, stopped).await;
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    sender: Sender,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(sender.clone()));
        let router = router.clone();
        async move {
            let answer = router.oneshot(request).await;
            Ok::<_, Infallible>(match answer {
                Ok(answer) => answer,
                Err(impossible) => match impossible {},
            })
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT);
    let served = http.serve_connection(TokioIo::new(Spoken::new(stream)), service);
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = told_to_stop(&mut stopped) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        // It was closed by the other side, or in time by ours; nobody is left to be told.
        tracing::debug!(%error, "a connection ended");
    }
}

async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    // An error means that nobody can say so any more.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// A descriptor that is kept so that somebody can be told when there is no other.
struct Spare {
    kept: Option<File>,
    /// It was said, and there has been none since.
    said: bool,
}

impl Spare {
    fn new() -> Self {
        Self {
            kept: File::open("/dev/null").ok(),
            said: false,
        }
    }

    fn there_are_others(&mut self) {
        if std::mem::take(&mut self.said) {
            tracing::info!("there are descriptors again");
        }
    }

    /// Takes a connection with the spare descriptor, if that is what is missing, says why it is refused,
    /// and lets it go.
    async fn refuse_one(&mut self, door: &Door, error: &io::Error) {
        let out = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
        if !out.contains(&error.raw_os_error()) {
            tracing::error!(%error, "a connection cannot be taken");
            return;
        }
        if !std::mem::replace(&mut self.said, true) {
            tracing::error!(
                "no descriptor is left for connections ({error}); those who ask are refused"
            );
        }
        // Closed here: as a part of the condition it would stay open until its end.
        let had = self.kept.take().map(drop).is_some();
        // Over the network whoever comes has not even shaken hands, and is let go.
        if had
            && let Ok(Ok(Taken::Local(stream))) =
                tokio::time::timeout(TRY_AGAIN, door.accept()).await
        {
            // Whoever has gone is told nothing; an empty socket's buffer is large enough for it.
            let told = stream.into_std();
            let _ = told.and_then(|mut stream| stream.write_all(&spoken::no_descriptor()));
        }
        self.kept = File::open("/dev/null").ok();
    }
}
