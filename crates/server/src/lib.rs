//! The server as a library: API, admission
