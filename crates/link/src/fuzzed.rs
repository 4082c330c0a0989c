//! Reading a server's lines, for the fuzzer (`fuzz/`).

use accelnet_api::{ServerUrl, agents::after};
use accelnet_model::{NodeDesired, Problem};
use futures::FutureExt;

use crate::{
    dial::Answer,
    line::{Lines, Pending},
};

/// What comes in pieces of some size.
struct Pieces {
    bytes: Vec<u8>,
    size: usize,
}

impl Answer for Pieces {
    fn next(&mut self) -> Pending<'_, Result<Option<Vec<u8>>, Problem>> {
        let rest = self.bytes.split_off(self.size.min(self.bytes.len()));
        let piece = std::mem::replace(&mut self.bytes, rest);
        std::future::ready(Ok((!piece.is_empty()).then_some(piece))).boxed()
    }
}

/// All lines, as they are written again, and the wish that they make.
fn heard(server: &ServerUrl, bytes: &[u8], size: usize) -> (Vec<String>, Option<NodeDesired>) {
    let answer = Pieces {
        bytes: bytes.to_vec(),
        size,
    };
    let mut lines = Lines::of(server, Box::new(answer));
    let (mut all, mut wish) = (Vec::new(), None);
    while let Some(Ok(said)) = lines.next().now_or_never() {
        if let Some(new) = after(wish.as_ref(), &said) {
            wish = Some(new);
        }
        all.push(serde_json::to_string(&said).expect("it can be written"));
    }
    (all, wish)
}

/// What a server says down: the same however it is cut in pieces, and the same once more when it is written again.
///
/// # Panics
/// If it is not.
pub fn lines_down(bytes: &[u8]) {
    let server: ServerUrl = "https://server:7643".parse().expect("an address");
    let whole = heard(&server, bytes, bytes.len().max(1));
    for size in [1, 7] {
        assert_eq!(heard(&server, bytes, size), whole);
    }
    let written: String = whole.0.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(heard(&server, written.as_bytes(), 64), whole);
}
