//! accelnetd
fn main() {}
