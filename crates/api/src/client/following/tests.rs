//! A watch against a socket that says what a test lets it say.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

use super::*;

/// Answers each connection's one request with the next of these, and remembers what was asked for.
struct Server {
    asked: Arc<Mutex<Vec<String>>>,
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl Server {
    fn of(answers: Vec<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("server.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                heard.lock().unwrap().push(path);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self {
            asked,
            socket,
            _directory: directory,
        }
    }

    fn client(&self) -> Client {
        Client::on_socket(&self.socket).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n{body}")
}

fn lines(lines: &[&str]) -> String {
    answer("200 OK", "", &(lines.join("\n") + "\n"))
}

fn problem(code: Code) -> String {
    let problem = Problem::new(code, "It is so.");
    let mut document = serde_json::to_value(problem).unwrap();
    document["type"] = "urn:x".into();
    document["status"] = code.http_status().into();
    document.to_string()
}

async fn follow(server: &Server, until: u32) -> (Vec<u32>, Result<()>) {
    let mut seen = Vec::new();
    let each = |value: &u32| {
        seen.push(*value);
        *value != until
    };
    let client = server.client();
    let ended = client.follow_all("/x?watch=true", each, |_| Ok(())).await;
    (seen, ended)
}

#[tokio::test]
async fn a_lost_watch_goes_on_after_what_was_told() {
    let server = Server::of(vec![
        lines(&[
            r#"{"event":"put","object":1}"#,
            r#"{"event":"synced","revision":"a.7"}"#,
            r#"{"event":"put","object":2,"revision":"a.8"}"#,
        ]),
        lines(&[r#"{"event":"put","object":3,"revision":"a.9"}"#]),
    ]);
    let (seen, ended) = follow(&server, 3).await;
    ended.unwrap();
    assert_eq!(seen, [1, 2, 3]);
    let path = "/api/v1/x?watch=true";
    assert_eq!(
        server.asked(),
        [path.to_owned(), format!("{path}&from=a.8")]
    );
}

#[tokio::test]
async fn what_a_server_cannot_go_on_from_begins_again() {
    let told = r#"{"event":"synced","revision":"a.7"}"#;
    let gone = answer("410 Gone", "", &problem(Code::WatchTooOld));
    let server = Server::of(vec![
        lines(&[told]),
        gone,
        lines(&[told, r#"{"event":"start_over"}"#]),
        lines(&[r#"{"event":"put","object":4}"#]),
    ]);
    let (seen, ended) = follow(&server, 4).await;
    ended.unwrap();
    assert_eq!(seen, [4]);
    let path = "/api/v1/x?watch=true";
    let from = format!("{path}&from=a.7");
    assert_eq!(server.asked(), [path, &from, path, path]);
}

#[tokio::test]
async fn a_server_that_was_never_there_is_not_waited_for() {
    let server = Server::of(vec![answer(
        "421 Misdirected Request",
        "",
        &problem(Code::ServerNotActive),
    )]);
    let (_, ended) = follow(&server, 1).await;
    let problems = ended.unwrap_err().into_problems();
    assert_eq!(problems[0].code, Code::ServerNotActive);
}

#[tokio::test]
async fn a_server_that_asks_for_patience_is_asked_again() {
    let busy = answer(
        "503 Service Unavailable",
        "retry-after: 0\r\n",
        &problem(Code::ServerSettling),
    );
    let server = Server::of(vec![
        busy.clone(),
        busy,
        answer("200 OK", "", r#"{"items":[1],"next":"a b"}"#),
        answer("200 OK", "", r#"{"items":[2]}"#),
    ]);
    let all = server.client().all::<u32>("/x?").await.unwrap();
    assert_eq!(all.items, [1, 2]);
    let paths = server.asked();
    assert_eq!(paths[0], "/api/v1/x?limit=5000");
    assert_eq!(paths[3], "/api/v1/x?limit=5000&after=a%20b");
}

#[tokio::test]
async fn what_is_no_answer_without_a_pause_is_told_at_once() {
    let server = Server::of(vec![answer(
        "503 Service Unavailable",
        "",
        &problem(Code::AgentUnreachable),
    )]);
    let refused = server.client().all::<u32>("/x?").await.unwrap_err();
    assert_eq!(refused.into_problems()[0].code, Code::AgentUnreachable);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn nobody_follows_from_a_socket_to_the_network() {
    let server = Server::of(vec![answer(
        "421 Misdirected Request",
        "x-accelnet-active: 127.0.0.1:1\r\n",
        &problem(Code::ServerNotActive),
    )]);
    let refused = server.client().all::<u32>("/x?").await.unwrap_err();
    assert_eq!(refused.into_problems()[0].code, Code::ServerNotActive);
}
