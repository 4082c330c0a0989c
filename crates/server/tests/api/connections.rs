//! What is sent as no HTTP of ours, half of it, or not at all.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::rig::Rig;

/// Longer than any of the server's limits.
const LONG: Duration = Duration::from_secs(120);

async fn send(socket: PathBuf, bytes: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    // It may be closed before all of it was read.
    let _ = stream.write_all(bytes).await;
    stream
}

/// All that comes until the server closes.
async fn rest(mut stream: UnixStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(LONG, stream.read_to_end(&mut bytes));
    // What was sent and not read makes it a reset; what was answered is there.
    let _ = read.await.expect("it stays open");
    String::from_utf8(bytes).unwrap()
}

fn problem(answer: &str) -> (u16, Value) {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{answer:?}"));
    assert!(
        head.contains("content-type: application/problem+json"),
        "{head}"
    );
    let body: Value = serde_json::from_str(body).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    assert_eq!(body["status"], status, "{answer}");
    for part in ["type", "code", "title", "detail", "cure"] {
        assert!(
            body[part].as_str().is_some_and(|text| !text.is_empty()),
            "{part}: {body}"
        );
    }
    (status, body)
}

#[tokio::test]
async fn what_cannot_be_parsed_is_answered_with_a_problem() {
    let rig = Rig::one().await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(70_000));
    let many: String = (0..200)
        .map(|number| format!("x-{number}: 1\r\n"))
        .collect();
    let many = format!("GET /api/v1/status HTTP/1.1\r\nhost: a\r\n{many}\r\n");
    for (sent, status) in [
        ("nonsense\r\n\r\n", 400),
        ("GET /api/v1/status HTTP/7.1\r\n\r\n", 400),
        ("GET /api/v1/status HTTP/1.1\r\nhost a\r\n\r\n", 400),
        (long.as_str(), 414),
        (many.as_str(), 431),
    ] {
        let answer = rest(send(rig.socket(), sent.as_bytes()).await).await;
        let (answered, body) = problem(&answer);
        assert_eq!(
            (answered, &body["code"]),
            (status, &"invalid_argument".into())
        );
    }
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn idle_and_half_sent_connections_are_closed_in_time() {
    let rig = Rig::one().await;
    assert_eq!(rest(send(rig.socket(), b"").await).await, "");
    assert_eq!(rest(send(rig.socket(), b"GET /api/v1/st").await).await, "");
    // One that has asked before.
    let asked = send(
        rig.socket(),
        b"GET /api/v1/nodes HTTP/1.1\r\nhost: a\r\n\r\n",
    )
    .await;
    let answer = rest(asked).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let half = b"PUT /api/v1/acceleration HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\
        content-type: application/json\r\nconnection: close\r\n\r\n{\"intent\":";
    let (status, body) = problem(&rest(send(rig.socket(), half).await).await);
    assert_eq!(status, 408, "{body}");
    rig.stop().await;
}

#[tokio::test]
async fn what_is_not_allowed_names_what_is() {
    let rig = Rig::one().await;
    let asked = b"DELETE /api/v1/vms/vm1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = rest(send(rig.socket(), asked).await).await;
    let allow = answer.lines().find_map(|line| line.strip_prefix("allow: "));
    assert_eq!(allow, Some("GET,HEAD"), "{answer}");
    assert_eq!(problem(&answer).0, 405);
    rig.stop().await;
}
