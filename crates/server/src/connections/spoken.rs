//! Answers of the HTTP layer itself, in the form of all other errors.
//!
//! What cannot be parsed never comes to a route: hyper answers 400, 414 or 431 with no body and closes the
//! connection. Such an answer is known by its form, which none of ours has, and is replaced by the same
//! status with a problem in its body.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use accelnet_model::{Code, Problem};
use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::failure::document;

/// A connection on which every error has a body.
pub struct Spoken<S> {
    stream: S,
    /// An answer of ours, and how much of it is written.
    instead: Vec<u8>,
    written: usize,
}

impl<S: AsyncWrite + Unpin> Spoken<S> {
    /// On a connection.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            instead: Vec::new(),
            written: 0,
        }
    }

    /// Writes what is left of our answer.
    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.instead.len() {
            let rest = &self.instead[self.written..];
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Spoken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Spoken<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(cx))?;
        let Some(answer) = instead_of(bytes) else {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        };
        (self.instead, self.written) = (answer, 0);
        // What does not go out now goes with the flush that follows.
        if let Poll::Ready(Err(error)) = self.poll_instead(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What is said instead of an answer without words.
fn instead_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let rest = bytes.strip_prefix(b"HTTP/1.1 4")?;
    let head = std::str::from_utf8(bytes).ok()?;
    let bare = head.ends_with("\r\n\r\n")
        && head.contains("\r\ncontent-length: 0\r\n")
        && !head.contains("\r\ncontent-type:");
    if !bare {
        return None;
    }
    let (status, text) = match rest.get(..2)? {
        b"14" => (
            StatusCode::URI_TOO_LONG,
            "The address is longer than can be read.",
        ),
        b"31" => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "The headers are more, or longer, than can be read.",
        ),
        b"00" => (
            StatusCode::BAD_REQUEST,
            "What was sent is not HTTP/1.1, or not as it has to be.",
        ),
        _ => return None,
    };
    let problem = Problem::new(Code::InvalidArgument, text)
        .with_cure("Send a request of HTTP/1.1, as 'curl --unix-socket' does.");
    answer(status, problem)
}

/// The answer to somebody who cannot be served.
pub fn no_descriptor() -> Vec<u8> {
    let text = "The server has no file descriptor left for another connection.";
    let problem = Problem::new(Code::ServerNotRunning, text).with_cure(
        "Try again in a moment; find who holds so many connections ('ss -xp'), or raise LimitNOFILE= \
         of accelnetd's unit.",
    );
    answer(StatusCode::SERVICE_UNAVAILABLE, problem).unwrap_or_default()
}

fn answer(status: StatusCode, problem: Problem) -> Option<Vec<u8>> {
    let body = serde_json::to_string(&document(status, vec![problem])).ok()?;
    let (length, words) = (body.len(), status.canonical_reason().unwrap_or_default());
    let head = format!(
        "HTTP/1.1 {} {words}\r\ncontent-type: application/problem+json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n",
        status.as_u16()
    );
    Some([head, body].concat().into_bytes())
}
