//! Prints what is seen of this machine as JSON: `cargo run -p accelnet-host --example observe`.

use accelnet_host::{Host, linux::Linux};

fn main() -> anyhow::Result<()> {
    let host = Linux::new();
    let adapters = host.observe_adapters(&Default::default())?;
    let unseen = adapters.unseen.iter();
    let unseen: Vec<_> = unseen.map(|(name, why)| format!("{name}: {why}")).collect();
    let seen = serde_json::json!({
        "node": host.observe_node()?,
        "adapters": adapters.adapters,
        "unseen": unseen,
    });
    println!("{}", serde_json::to_string_pretty(&seen)?);
    Ok(())
}
