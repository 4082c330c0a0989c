//! `--metrics`: a listener that has nothing but `/metrics`, and asks nobody who he is.

use std::{future::Future, net::SocketAddr, sync::Arc};

use accelnet_api::metrics::{Kept, Text};
use accelnet_server::{
    Door, connections,
    metrics::{self, Measured},
};
use anyhow::{Context, Result};
use axum::Router;
use clap::Args;
use tokio::{net::TcpListener, task::JoinHandle};

/// Where Prometheus asks.
#[derive(Debug, Clone, Default, Args)]
pub struct MetricsArgs {
    /// Also serve /metrics, and nothing else, at this address, without TLS and without a token: names of VMs and
    /// counters, no secrets.
    #[arg(
        long = "metrics",
        env = "ACCELNET_METRICS",
        value_name = "ADDRESS:PORT"
    )]
    metrics: Option<SocketAddr>,
}

/// The page of a process that has no server: made at most once a second.
pub fn page(measured: Measured<Text>) -> Router {
    let kept = Arc::<Kept>::default();
    metrics::page(Arc::new(move || {
        let (kept, measured) = (Arc::clone(&kept), Arc::clone(&measured));
        Box::pin(async move { kept.bytes(measured()).await })
    }))
}

/// A place that is listened at, if one was said.
pub struct Listener(Option<TcpListener>);

impl MetricsArgs {
    /// Listens from now on.
    ///
    /// # Errors
    /// If that cannot be.
    pub async fn listen(&self) -> Result<Listener> {
        let Some(address) = self.metrics else {
            return Ok(Listener(None));
        };
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address} for metrics"))?;
        // The port, where it was left to the kernel.
        let address = listener.local_addr().unwrap_or(address);
        tracing::info!(%address, "metrics");
        Ok(Listener(Some(listener)))
    }
}

impl Listener {
    /// Serves this page until `stop` is done.
    pub fn serve(
        self,
        page: Router,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let doors: Vec<Door> = self.0.into_iter().map(Door::Open).collect();
        tokio::spawn(async move {
            if !doors.is_empty() {
                connections::serve_all(doors, page, stop).await;
            }
        })
    }
}
