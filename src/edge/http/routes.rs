//! The table of paths.

use matchit::{InsertError, Router};

use super::sockets::SocketRoute;
use crate::config::Dialect;
use crate::domain::FileKind;
use crate::edge::calls::{ADDED, DOCUMENTED, Name};

/// The stored files by their paths.
pub const FILES: [(&str, FileKind); 4] = [
    ("/get_music/{name}", FileKind::Music),
    ("/get_image/{name}", FileKind::Image),
    ("/get_chat/{name}", FileKind::Chat),
    ("/get_qr/{name}", FileKind::Qr),
];

/// The paths of those who watch over the hub: whether its process answers.
pub const HEALTH: [&str; 2] = ["/healthz", "/livez"];
/// And whether everything works that it stands on.
pub const READINESS: &str = "/readyz";

/// What stands at a path.
pub(super) enum Endpoint {
    /// A documented call.
    Call(Name),
    /// The stored files of one kind.
    File(FileKind),
    /// Whether the hub runs, for those who watch over it.
    Health,
    /// Whether its parts work.
    Readiness,
    /// The door to another edge.
    Socket(SocketRoute),
}

impl Endpoint {
    /// The methods, as an `Allow` header lists them.
    pub(super) fn allowed_methods(&self) -> &'static str {
        match self {
            Self::Call(_) => "POST, OPTIONS",
            Self::File(_) | Self::Health | Self::Readiness => "GET, HEAD, OPTIONS",
            Self::Socket(_) => "GET, OPTIONS",
        }
    }
}

/// A path of the table.
pub(super) struct Route {
    /// The path with `{name}` for what varies: names no file, toy or person, so that it can be logged.
    pub(super) pattern: &'static str,
    /// What stands there.
    pub(super) endpoint: Endpoint,
}

/// All paths.
pub(super) struct Routes(Router<Route>);

impl Routes {
    /// The documented paths, those of `dialect`, and the `sockets`. Fails if two have the same path.
    pub(super) fn new(dialect: Dialect, sockets: Vec<SocketRoute>) -> Result<Self, InsertError> {
        let calls = DOCUMENTED
            .into_iter()
            .chain(ADDED)
            .map(|(pattern, name)| Route { pattern, endpoint: Endpoint::Call(name) });
        let covers = (dialect == Dialect::Field).then_some(("/get_cover/{name}", FileKind::Image));
        let files = FILES.into_iter().chain(covers);
        let files = files.map(|(pattern, kind)| Route { pattern, endpoint: Endpoint::File(kind) });
        let health = HEALTH.map(|pattern| Route { pattern, endpoint: Endpoint::Health });
        let readiness = Route { pattern: READINESS, endpoint: Endpoint::Readiness };
        let sockets =
            sockets.into_iter().map(|route| Route { pattern: route.pattern, endpoint: Endpoint::Socket(route) });

        let mut router = Router::new();
        for route in calls.chain(files).chain(health).chain([readiness]).chain(sockets) {
            router.insert(route.pattern, route)?;
        }
        Ok(Self(router))
    }

    /// The route of `path` and the path's `{name}`, still percent-encoded.
    pub(super) fn find<'p>(&self, path: &'p str) -> Option<(&Route, Option<&'p str>)> {
        let found = self.0.at(path).ok()?;
        Some((found.value, found.params.get("name")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_path_has_a_route() {
        let routes = Routes::new(Dialect::Documented, vec![]).unwrap();
        let mut documented: Vec<&str> = DOCUMENTED.iter().map(|(path, _)| *path).collect();
        documented.extend(["/get_music/a.mp3", "/get_image/a.jpg", "/get_chat/a.mp3", "/get_qr/a.jpg"]);
        assert_eq!(documented.len(), 22);
        for path in documented {
            assert!(routes.find(path).is_some(), "{path}");
        }
        assert_eq!(routes.find("/get_chat/a%2eb").unwrap().1, Some("a%2eb"));
    }

    #[test]
    fn no_other_path_has_one() {
        let routes = Routes::new(Dialect::Documented, vec![]).unwrap();
        for path in ["", "/", "/Reg", "/reg/", "//reg", "/get_chat/", "/get_chat/../../etc/passwd", "/get_cover/a.jpg"]
        {
            assert!(routes.find(path).is_none(), "{path}");
        }
        assert!(Routes::new(Dialect::Field, vec![]).unwrap().find("/get_cover/a.jpg").is_some());
    }
}
