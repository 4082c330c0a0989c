//! accelnet
fn main() {}
