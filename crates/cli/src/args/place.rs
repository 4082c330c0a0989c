//! Which server a command is for.

use std::path::PathBuf;

use accelnet_api::ServerUrl;
use clap::Args as ClapArgs;

/// Which server; with nothing said, that of the profile in use, or of the local socket.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct PlaceArgs {
    /// The local socket instead of a profile's server [env: ACCELNET_SOCKET] [default:
    /// /run/accelnet/accelnet.sock].
    #[arg(long, global = true, value_name = "PATH", conflicts_with_all = ["server", "cluster"])]
    pub socket: Option<PathBuf>,

    /// The server at this address [env: ACCELNET_SERVER]; the token is the profile's that has it, or
    /// $ACCELNET_TOKEN.
    #[arg(long, global = true, value_name = "URL", conflicts_with = "cluster")]
    pub server: Option<ServerUrl>,

    /// The cluster of this profile [env: ACCELNET_CLUSTER]; 'accelnet login' makes profiles.
    #[arg(long, global = true, value_name = "PROFILE")]
    pub cluster: Option<String>,

    /// Answers may be old: a server that stands by gives them from its copy, also when none decides. For what only
    /// shows something, once.
    #[arg(long, global = true)]
    pub stale: bool,
}
