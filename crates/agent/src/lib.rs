//! The agent as a library: observe, plan, apply, report
