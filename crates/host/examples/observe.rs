//! Prints what is seen of this machine as JSON: `cargo run -p accelnet-host --example observe`.

use accelnet_host::{Host, linux::Linux};

fn main() -> anyhow::Result<()> {
    let host = Linux::new();
    let seen = serde_json::json!({
        "node": host.observe_node()?,
        "adapters": host.observe_adapters(&Default::default())?.adapters,
    });
    println!("{}", serde_json::to_string_pretty(&seen)?);
    Ok(())
}
