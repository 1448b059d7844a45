//! The table of paths.

use std::borrow::Cow;

use matchit::{InsertError, Router};

use super::OtherRoutes;
use super::devices::{PostRoute, SoundRoute};
use super::path::with_one_slash;
use super::sockets::SocketRoute;
use crate::api::{self, Entry, ServedAt};
use crate::config::Dialect;
use crate::domain::FileKind;
use crate::edge::pages::{ASSETS, FAMILY};

/// The stored files by their paths.
pub const FILES: [(&str, FileKind); 4] = [
    ("/get_music/{name}", FileKind::Music),
    ("/get_image/{name}", FileKind::Image),
    ("/get_chat/{name}", FileKind::Chat),
    ("/get_qr/{name}", FileKind::Qr),
];

/// The path of pictures in the dialect of the field.
pub(super) const FIELD_PATH: &str = "/get_cover/{name}";

/// The paths for monitoring: whether the process answers.
pub const HEALTH: [&str; 2] = ["/healthz", "/livez"];
/// And whether all its parts work.
pub const READINESS: &str = "/readyz";

/// The resource at a path.
pub(super) enum Endpoint {
    /// A registered call.
    Call(&'static Entry),
    /// The stored files of one kind.
    File(FileKind),
    /// The archive of a family, by its ticket.
    Export,
    /// Whether the hub runs, for monitoring.
    Health,
    /// Whether its parts work.
    Readiness,
    /// A page for browsers.
    Document(&'static str),
    /// A file of these pages.
    Asset,
    /// The handshake of a socket of another edge.
    Socket(SocketRoute),
    /// A post of a device of another edge.
    Post(PostRoute),
    /// Sounds for such devices, by their tickets.
    Sound(SoundRoute),
}

impl Endpoint {
    /// The methods, as an `Allow` header lists them.
    pub(super) fn allowed_methods(&self) -> &'static str {
        match self {
            Self::Call(_) | Self::Post(_) => "POST, OPTIONS",
            Self::File(_) | Self::Health | Self::Readiness | Self::Document(_) | Self::Asset => "GET, HEAD, OPTIONS",
            Self::Socket(_) | Self::Sound(_) | Self::Export => "GET, OPTIONS",
        }
    }
}

/// A path of the table.
pub(super) struct Route {
    /// The path with `{name}` for its variable parts: names no file, toy or person, so that it can be logged.
    pub(super) pattern: Cow<'static, str>,
    /// The resource.
    pub(super) endpoint: Endpoint,
}

/// All paths.
pub(super) struct Routes(Router<Route>);

impl Routes {
    /// The documented paths, those of `dialect`, those of `others`, and the pages if `with_pages`. Fails if two have the
    /// same path.
    pub(super) fn new(dialect: Dialect, with_pages: bool, others: OtherRoutes) -> Result<Self, InsertError> {
        let calls = api::calls().filter(|call| call.facts.served_at != ServedAt::Connection);
        let calls =
            calls.map(|call| Route { pattern: format!("/{}", call.facts.name).into(), endpoint: Endpoint::Call(call) });
        let covers = (dialect == Dialect::Field).then_some((FIELD_PATH, FileKind::Image));
        let files = FILES.into_iter().chain(covers);
        let files = files.map(|(pattern, kind)| Route { pattern: pattern.into(), endpoint: Endpoint::File(kind) });
        let health = HEALTH.map(|pattern| Route { pattern: pattern.into(), endpoint: Endpoint::Health });
        let readiness = Route { pattern: READINESS.into(), endpoint: Endpoint::Readiness };
        let export = Route { pattern: api::export::PATH.into(), endpoint: Endpoint::Export };
        let OtherRoutes { sockets, posts, sounds } = others;
        let sockets =
            sockets.into_iter().map(|route| Route { pattern: route.pattern.into(), endpoint: Endpoint::Socket(route) });
        let posts =
            posts.into_iter().map(|route| Route { pattern: route.pattern.into(), endpoint: Endpoint::Post(route) });
        let sounds =
            sounds.into_iter().map(|route| Route { pattern: route.pattern.into(), endpoint: Endpoint::Sound(route) });
        let documents = FAMILY
            .documents
            .iter()
            .map(|&(path, file)| Route { pattern: path.into(), endpoint: Endpoint::Document(file) });
        let asset = Route { pattern: ASSETS.into(), endpoint: Endpoint::Asset };
        let pages = documents.chain([asset]).filter(|_| with_pages);

        let mut router = Router::new();
        for route in calls
            .chain(files)
            .chain(health)
            .chain([readiness, export])
            .chain(sockets)
            .chain(posts)
            .chain(sounds)
            .chain(pages)
        {
            router.insert(route.pattern.clone(), route)?;
        }
        Ok(Self(router))
    }

    /// The route of `path` and the path's `{name}`, still percent-encoded.
    pub(super) fn find<'p>(&self, path: &'p str) -> Option<(&Route, Option<&'p str>)> {
        let found = self.0.at(with_one_slash(path)).ok()?;
        Some((found.value, found.params.get("name")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_path_has_a_route() {
        let routes = Routes::new(Dialect::Documented, false, OtherRoutes::default()).unwrap();
        for path in [
            "/reg",
            "//reg",
            "///app_uploader",
            "/login",
            "/auto_login",
            "/content_list",
            "/get_music/a.mp3",
            "/get_image/a.jpg",
            "/get_chat/a.mp3",
            "/get_qr/a.jpg",
            "/app_uploader",
            "/toy_uploader",
            "/ai_uploader",
            "/chat_list",
            "/recv_msg",
            "/scan_qr",
            "/bind_toy",
            "/toy_list",
            "/open_toy",
            "/friend_list",
            "/add_req",
            "/req_list",
            "/ref_req",
            "/acc_req",
        ] {
            assert!(routes.find(path).is_some(), "{path}");
        }
        assert_eq!(routes.find("/get_chat/a%2eb").unwrap().1, Some("a%2eb"));
    }

    #[test]
    fn no_other_path_has_one() {
        let routes = Routes::new(Dialect::Documented, false, OtherRoutes::default()).unwrap();
        for path in ["", "/", "/Reg", "/reg/", "/get_chat/", "/get_chat/../../etc/passwd", "/get_cover/a.jpg"] {
            assert!(routes.find(path).is_none(), "{path}");
        }
        assert!(Routes::new(Dialect::Field, false, OtherRoutes::default()).unwrap().find("/get_cover/a.jpg").is_some());
        for dialect in [Dialect::Documented, Dialect::Field] {
            let routes = Routes::new(dialect, true, OtherRoutes::default()).unwrap();
            for (path, _) in FAMILY.documents {
                assert!(routes.find(path).is_some(), "{path}");
            }
            assert_eq!(routes.find("/web/0/vendor/a.js").unwrap().1, Some("vendor/a.js"));
        }
    }
}
