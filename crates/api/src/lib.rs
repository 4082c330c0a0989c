//! The HTTP contract: paths, types, problem+json, typed client
