//! Virtual functions by hand: `cargo run -p accelnet-host --example vf -- …`
//!
//! - `count PF N`
//! - `vfio VF`
//! - `vectors VF`
//! - `baseline PF INDEX`
//! - `set PF INDEX KEY=VALUE …` with keys mac, vlan, qos, spoofchk, trust, max, min; the rest as in
//!   the baseline

use accelnet_host::{Host, linux::Linux};
use accelnet_model::{PciAddress, Support, VfAttributes};
use anyhow::{Context, bail};

fn main() -> anyhow::Result<()> {
    let host = Linux::new();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let pci = |text: &str| text.parse::<PciAddress>();
    match words[..] {
        ["count", pf, count] => host.ensure_vf_count(pci(pf)?, count.parse()?)?,
        ["vfio", vf] => host.ensure_vf_vfio(pci(vf)?, None)?,
        ["vectors", vf] => println!("{:?}", host.observe_vectors()?.get(&pci(vf)?)),
        ["baseline", pf, index] => set(&host, pci(pf)?, index, &[])?,
        ["set", pf, index, ref settings @ ..] => set(&host, pci(pf)?, index, settings)?,
        _ => bail!("see the head of examples/vf.rs"),
    }
    Ok(())
}

fn set(host: &Linux, pf: PciAddress, index: &str, settings: &[&str]) -> anyhow::Result<()> {
    let mut wanted = VfAttributes::baseline();
    for setting in settings {
        let (key, value) = setting.split_once('=').context("KEY=VALUE")?;
        match key {
            "mac" => wanted.mac = value.parse()?,
            "vlan" => wanted.vlan = value.parse()?,
            "qos" => wanted.qos = value.parse()?,
            "spoofchk" => wanted.spoofchk = Support::Supported(value == "on"),
            "trust" => wanted.trust = Support::Supported(value == "on"),
            "max" => wanted.max_tx_rate_mbps = Support::Supported(value.parse()?),
            "min" => wanted.min_tx_rate_mbps = Support::Supported(value.parse()?),
            _ => bail!("{key} is no attribute"),
        }
    }
    let found = host.ensure_vf_attributes(pf, index.parse()?, &wanted)?;
    println!("{}", serde_json::to_string_pretty(&found)?);
    println!("fulfils what was wanted: {}", found.fulfils(&wanted));
    Ok(())
}
