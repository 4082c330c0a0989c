//! `accelnet-lab-guest`: the lab's agent inside a guest, its other end on the node, what sends and counts on
//! both, and the node's stand-in for what the emulated card forgets.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use accelnet_lab::{
    card, frame, guest,
    probe::{echo, responder},
};
use anyhow::{Result, bail};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(255)),
        Err(error) => {
            eprintln!("accelnet-lab-guest: {error:#}");
            ExitCode::from(254)
        }
    }
}

fn run(words: &[String]) -> Result<i32> {
    let texts: Vec<&str> = words.iter().map(String::as_str).collect();
    match texts.as_slice() {
        ["serve"] => guest::serve().map(|()| 0),
        ["connect", cid, "--", argv @ ..] => guest::run(cid.parse()?, owned(argv)),
        ["wait", cid, seconds] => wait(cid.parse()?, Duration::from_secs(seconds.parse()?)),
        ["card"] => card::serve().map(|()| 0),
        ["probe", peer, rate] => responder::run(peer.parse()?, rate.parse()?).map(|()| 0),
        ["echo", rate, to @ ..] if !to.is_empty() => {
            let to = to.iter().map(|address| address.parse());
            echo::run(rate.parse()?, &to.collect::<Result<Vec<_>, _>>()?).map(|()| 0)
        }
        ["frame", interface, to, from] => frame::send(interface, to, from).map(|()| 0),
        _ => bail!(
            "usage: serve | connect CID -- CMD… | wait CID SECONDS | card | probe PEER RATE | \
             echo RATE ADDRESS… | frame INTERFACE TO FROM"
        ),
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Waits until a guest's agent answers. A virtual socket tells nobody when its other side starts to
/// listen, so it is asked again.
fn wait(cid: u32, limit: Duration) -> Result<i32> {
    let start = Instant::now();
    loop {
        match guest::connect(cid) {
            Ok(_) => return Ok(0),
            Err(error) if start.elapsed() > limit => return Err(error),
            Err(_) => std::thread::park_timeout(Duration::from_millis(200)),
        }
    }
}
