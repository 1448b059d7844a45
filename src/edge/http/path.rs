//! The path of a request.

/// A path as it is meant: clients that join an address and a path write `//login`.
pub(super) fn with_one_slash(path: &str) -> &str {
    let doubled = path.len() - path.trim_start_matches('/').len();
    &path[doubled.saturating_sub(1)..]
}
