//! `accelnetd init` and `accelnetd server`: a cluster is founded, and served.
//!
//! A server needs no right on its host. It opens its doors only when it can decide: socket (so that a second one
//! ends here), store, the cluster's authority, its own certificate, state, ready.

use std::{io::Write, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use accelnet_api::{Role, ServerUrl, TokenRequest};
use accelnet_model::Problem;
use accelnet_pki::{Authority, tls};
use accelnet_server::{Actor, Door, Server, Settings, connections, membership};
use accelnet_store::Store;
use anyhow::{Context, Result, ensure};
use clap::Args;
use jiff::Timestamp;
use rustls::ServerConfig;
use sd_notify::NotifyState;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    alive::{self, Pulse},
    etcd_files::EtcdFiles,
    health::HealthArgs,
    kept::{Kept, Open},
    metrics::MetricsArgs,
    service::{self, Stop, tell_systemd},
    socket, stage,
};

/// A server makes itself a new certificate when half of this is over.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// Where a server listens, unless it is told another.
const PORT: u16 = 7643;
/// The first administrator's token.
const FIRST_TOKEN: &str = "admin";

/// Where a cluster's state is kept.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    /// Where the server's state is kept.
    #[arg(
        long,
        env = "ACCELNET_SERVER_STATE_DIR",
        default_value = "/var/lib/accelnet-server",
        value_name = "DIR"
    )]
    state_dir: PathBuf,
    /// Where what is wanted is kept: 'sqlite:FILE' (one server), or 'etcd://HOST:PORT,…' (several).
    #[arg(long, env = "ACCELNET_STORE", value_name = "STORE")]
    store: Option<String>,
    #[command(flatten)]
    etcd: EtcdFiles,
}

impl StoreArgs {
    /// What was said on the command line.
    ///
    /// # Errors
    /// If it contradicts itself.
    pub fn kept(&self) -> Result<Kept> {
        Kept::parse(self.store.as_deref(), &self.state_dir, &self.etcd)
    }
}

#[derive(Debug, Clone, Args)]
pub struct ServerState {
    #[command(flatten)]
    store: StoreArgs,
    /// Where agents and people reach this server; its certificate is for these names. If not said: this host's name,
    /// port 7643.
    #[arg(long = "address", value_name = "HOST:PORT", value_delimiter = ',')]
    addresses: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    state: ServerState,
}

#[derive(Debug, Args)]
pub struct ServerArgs {
    #[command(flatten)]
    state: ServerState,
    /// Where it listens.
    #[arg(long, default_value = "[::]:7643", value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// Socket for the administrator of this machine (root and group 'accelnet').
    #[arg(
        long,
        env = "ACCELNET_SERVER_SOCKET",
        default_value = "/run/accelnet-server/accelnet.sock",
        value_name = "PATH"
    )]
    socket: PathBuf,
    #[command(flatten)]
    health: HealthArgs,
    #[command(flatten)]
    metrics: MetricsArgs,
}

impl ServerArgs {
    /// What does not fit together in what it was told, before anything is opened.
    pub fn check(&self) -> Result<()> {
        self.state.store.kept()?;
        self.state.addresses()?;
        self.health.settings().map(drop)
    }
}

impl ServerState {
    /// The addresses as they are told to agents, and the names in them.
    fn addresses(&self) -> Result<(Vec<String>, Vec<String>)> {
        let mut addresses = Vec::new();
        let mut names = Vec::new();
        let said = match self.addresses.is_empty() {
            true => vec![format!("{}:{PORT}", host_name())],
            false => self.addresses.clone(),
        };
        for address in &said {
            let url: ServerUrl = address
                .parse()
                .with_context(|| format!("--address {address}"))?;
            let text = url.to_string();
            let place = text.strip_prefix("https://").unwrap_or(&text);
            let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
            names.push(host.trim_matches(['[', ']']).to_owned());
            addresses.push(place.to_owned());
        }
        Ok((addresses, names))
    }
}

fn host_name() -> String {
    let names = rustix::system::uname();
    names.nodename().to_string_lossy().into_owned()
}

/// What a problem with a state is about.
pub fn about(kept: &Kept) -> impl FnOnce(Problem) -> anyhow::Error {
    let text = format!("the state in {kept} cannot be used");
    move |problem| anyhow::Error::new(problem).context(text)
}

/// Founds a cluster, and prints the first administrator's token.
pub fn init(args: &Init) -> Result<()> {
    service::run(async {
        let kept = args.state.store.kept()?;
        match kept.open().await? {
            Open::Sqlite(store) => found(&args.state, &kept, store).await,
            #[cfg(feature = "etcd")]
            Open::Etcd(store) => found(&args.state, &kept, store).await,
        }
    })
}

async fn found<S: Store>(state: &ServerState, kept: &Kept, store: Arc<S>) -> Result<()> {
    let (addresses, _) = state.addresses()?;
    let address = &addresses[0];
    // One that cannot be read may be there.
    let before = membership::is_founded(&*store).await.map_err(about(kept))?;
    ensure!(
        !before,
        "there is a cluster in {kept} already; start its server: accelnetd server --address {address}"
    );
    let authority = membership::found(&*store).await.map_err(about(kept))?;
    let fingerprint = authority.fingerprint();
    let server = Server::of_cluster(
        store,
        Arc::new(authority),
        addresses.clone(),
        Settings::default(),
    );
    let server = server.await.map_err(about(kept))?;
    let request = TokenRequest {
        name: FIRST_TOKEN.parse()?,
        role: Role::Admin,
        ttl_s: None,
    };
    let by = Actor {
        uid: Some(rustix::process::getuid().as_raw()),
        ..Actor::default()
    };
    let issued = server.issue_token(by, &request).await;
    let issued = issued.map_err(|problems| {
        let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!(words.join("; "))
    })?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "The cluster is founded. Its authority's fingerprint:\n  {fingerprint}\n\n\
         The token of its first administrator, shown this one time:\n  {}\n\n\
         Next:\n\
         \x20 systemctl enable --now accelnet-server             this machine serves it\n\
         \x20 accelnet login https://{address} --fingerprint {fingerprint}\n\
         \x20 accelnet node join-token                           for each node; then on it:\n\
         \x20 accelnetd join https://{address} TOKEN",
        issued.token
    )?;
    Ok(())
}

/// Serves a cluster until SIGTERM or SIGINT, or until its store has ended.
pub fn run(args: &ServerArgs) -> Result<()> {
    service::run(serve(args))
}

async fn serve(args: &ServerArgs) -> Result<()> {
    let mut stop_asked = Stop::listen()?;
    let (addresses, names) = args.state.addresses()?;
    let socket = socket::listen(&args.socket)?;
    let kept = args.state.store.kept()?;
    let open = kept.open().await?;
    let authority = match &open {
        Open::Sqlite(store) => membership::founded(&**store).await,
        #[cfg(feature = "etcd")]
        Open::Etcd(store) => membership::founded(&**store).await,
    };
    let authority = Arc::new(authority.map_err(about(&kept))?);
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let metrics = args.metrics.listen().await?;
    let (certificates, certificate) = watch::channel(own_certificate(&authority, &names)?);
    let renewing = keep_certificate(Arc::clone(&authority), names, certificates);
    let (own, stage) = watch::channel(open.begins());
    let doors = vec![
        Door::Local(socket.listener),
        Door::Network(listener, certificate),
    ];
    let (stop, stopped) = watch::channel(false);
    let numbers = metrics.serve(stage::metrics_router(stage.clone()), told(stopped.clone()));
    let settings = args.health.settings()?;
    let cluster = (authority, addresses);
    let others = open.others(&cluster, &settings, &stage);
    let front = stage::router(stage, others);
    let shut = told(stopped.clone());
    let serving = tokio::spawn(connections::serve_all(doors, front, shut));
    let ready = || {
        tell_systemd(NotifyState::Ready);
        tracing::info!(listen = %args.listen, %kept, "ready");
    };
    let active = open.decide(cluster, settings, own, stopped, ready);
    tokio::pin!(active);
    let watched = alive::until_dead(
        || Pulse::NONE,
        std::future::pending(),
        service::watchdog(),
        || tell_systemd(NotifyState::Watchdog),
    );
    let ended = tokio::select! {
        () = stop_asked.asked() => None,
        dead = watched => Some(Err(dead.into())),
        ended = renewing => Some(ended),
        ended = &mut active => Some(ended),
    };
    match &ended {
        Some(Err(error)) => tracing::error!("stopping: {error:#}"),
        _ => tracing::info!("stopping"),
    }
    tell_systemd(NotifyState::Stopping);
    drop(socket.path);
    stop.send_replace(true);
    match ended {
        Some(ended) => ended?,
        // It gives up the lead with its last words, so that another need not wait for the end of its lease.
        None => active.await?,
    }
    numbers.await?;
    Ok(serving.await?)
}

/// Waits until it was told to stop.
pub async fn told(mut stopped: watch::Receiver<bool>) {
    // An error means that nobody can say so any more.
    let _ = stopped.wait_for(|stop| *stop).await;
}

fn own_certificate(authority: &Authority, names: &[String]) -> Result<Arc<ServerConfig>> {
    let identity = authority.issue_server(names, CERTIFICATE_LIFETIME, Timestamp::now())?;
    Ok(tls::server(authority, &identity)?)
}

/// Makes a new one when half of its time is over, for connections from then on.
async fn keep_certificate(
    authority: Arc<Authority>,
    names: Vec<String>,
    certificates: watch::Sender<Arc<ServerConfig>>,
) -> Result<()> {
    loop {
        tokio::time::sleep(CERTIFICATE_LIFETIME / 2).await;
        certificates.send_replace(own_certificate(&authority, &names)?);
        tracing::info!("the server's certificate was renewed");
    }
}
