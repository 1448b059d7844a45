//! The pages that the hub serves to browsers: the family's app (`/`), a toy in the browser (`/toy`), both side by side
//! (`/demo`); and the operator's console (`/console`), on its own listener.
//!
//! They are plain HTML, CSS and ES modules in `src/pages/`, embedded in the program. The documents are revalidated at
//! each use. All other files are below a path that contains a hash of all of them, so that browsers may keep them for
//! good.

use std::io::{self, Write as _};
use std::path::Path;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HeaderName, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use sha2::{Digest as _, Sha256};

/// Pages of one listener.
pub struct Site {
    /// The paths of the documents, and their files.
    pub documents: &'static [(&'static str, &'static str)],
    /// What the path of every other file begins with.
    root: &'static str,
    files: &'static [(&'static str, &'static [u8])],
    policy: &'static str,
    permissions: &'static str,
    /// The value of `X-Frame-Options`.
    frames: &'static str,
}

/// The path of all other files of [`FAMILY`]; `version` is the hash of all of them.
pub const ASSETS: &str = "/web/{version}/{*name}";
/// In the documents, the path of the folder of the other files.
const FOLDER_MARK: &str = "{{web}}";
/// Digits of the version.
const VERSION_DIGITS: usize = 16;

macro_rules! embedded {
    ($($name:literal),* $(,)?) => { &[$(($name, include_bytes!(concat!("../pages/", $name)).as_slice())),*] };
}

/// The pages for families.
pub static FAMILY: Site = Site {
    documents: &[("/", "app.html"), ("/toy", "toy.html"), ("/demo", "demo.html"), ("/sw.js", "sw.js")],
    root: "/web/",
    files: embedded![
        "account.js",
        "app.html",
        "app.js",
        "chat.js",
        "demo.css",
        "demo.html",
        "demo.js",
        "family.js",
        "hub.js",
        "icon.svg",
        "manifest.json",
        "notify.js",
        "outbox.js",
        "parts.js",
        "people.js",
        "recorder.js",
        "scan.js",
        "style.css",
        "sw.js",
        "texts.js",
        "toy.css",
        "toy.html",
        "toy.js",
        "toys.js",
        "vendor/jsqr.js",
        "vendor/mqtt.js",
        "vendor/preact.js",
    ],
    // Scripts, styles and pictures come from the hub alone, none of them inline. Sounds may also be recordings of the
    // page itself.
    policy: "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
        media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; frame-src 'self'; base-uri 'none'; \
        form-action 'none'; frame-ancestors 'self'",
    permissions: "microphone=(self), camera=(self), geolocation=(), payment=(), usb=()",
    frames: "SAMEORIGIN",
};

/// The operator's console.
pub static CONSOLE: Site = Site {
    documents: &[("/console", "console/console.html")],
    root: "/console/web/",
    files: embedded![
        "console/api.js",
        "console/app.js",
        "console/connections.js",
        "console/console.html",
        "console/content.js",
        "console/devices.js",
        "console/log.js",
        "console/overview.js",
        "console/parts.js",
        "console/refusals.js",
        "console/sheet.js",
        "console/speech.js",
        "console/style.css",
        "console/topics.js",
        "console/users.js",
        "icon.svg",
        "recorder.js",
        "vendor/preact.js",
    ],
    // Sounds and covers are fetched with the token of the session, and shown as files of the page itself.
    policy: "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src blob:; \
        connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    permissions: "microphone=(self), camera=(), geolocation=(), payment=(), usb=()",
    frames: "DENY",
};

/// All files of a site, ready to be sent.
pub struct Pages {
    site: &'static Site,
    version: String,
    files: Vec<Page>,
}

struct Page {
    name: &'static str,
    /// The value of `Content-Type`.
    content_type: &'static str,
    /// The value of `ETag`.
    tag: HeaderValue,
    plain: Bytes,
    /// The same, compressed.
    gzip: Bytes,
}

impl Pages {
    /// Compresses the files, once for each start. Those of `folder` replace embedded ones of the same name.
    ///
    /// # Errors
    /// A file of the folder cannot be read.
    pub fn new(site: &'static Site, folder: &Path) -> io::Result<Self> {
        let mut files = Vec::with_capacity(site.files.len());
        for &(name, embedded) in site.files {
            files.push((name, replaced(folder, name)?.map_or(Bytes::from_static(embedded), Bytes::from)));
        }
        let mut hash = Sha256::new();
        for (name, bytes) in &files {
            hash.update(name);
            hash.update(bytes);
        }
        let mut version = hex::encode(hash.finalize());
        version.truncate(VERSION_DIGITS);
        let tag = HeaderValue::try_from(format!("\"{version}\"")).map_err(io::Error::other)?;
        let page = |(name, bytes): (&'static str, Bytes)| {
            let plain = match std::str::from_utf8(&bytes) {
                Ok(text) if !name.starts_with("vendor/") => {
                    Bytes::from(text.replace(FOLDER_MARK, &format!("{}{version}", site.root)))
                }
                _ => bytes,
            };
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&plain)?;
            let gzip = encoder.finish()?.into();
            Ok(Page { name, content_type: content_type(name), tag: tag.clone(), plain, gzip })
        };
        let files = files.into_iter().map(page).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { site, version, files })
    }

    /// Answers `GET` or `HEAD` of a document.
    pub fn document<B>(&self, file: &str, request: &Request<B>) -> Option<Response<Bytes>> {
        let page = self.files.iter().find(|page| page.name == file)?;
        Some(page.answer(self.site, request, "no-cache"))
    }

    /// Answers `GET` or `HEAD` of another file of this version; there is none of other versions.
    pub fn asset<B>(&self, request: &Request<B>) -> Option<Response<Bytes>> {
        let (version, name) = request.uri().path().strip_prefix(self.site.root)?.split_once('/')?;
        let is_current = version == self.version && !name.ends_with(".html");
        let page = self.files.iter().find(|page| page.name == name && is_current)?;
        Some(page.answer(self.site, request, "public, max-age=31536000, immutable"))
    }
}

impl Page {
    fn answer<B>(&self, site: &Site, request: &Request<B>, cache: &'static str) -> Response<Bytes> {
        let (asked, is_get) = (request.headers(), request.method() == Method::GET);
        let is_known = asked.get(IF_NONE_MATCH).is_some_and(|known| {
            let tags = known.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            tags.map(|tag| tag.strip_prefix(b"W/").unwrap_or(tag)).any(|tag| tag == self.tag.as_bytes())
        });
        let is_gzip = takes_gzip(asked);
        let bytes = if is_gzip { &self.gzip } else { &self.plain };
        let mut response = Response::new(if is_get && !is_known { bytes.clone() } else { Bytes::new() });
        let headers = response.headers_mut();
        headers.insert(ETAG, self.tag.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(site.policy));
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static(site.frames));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(HeaderName::from_static("permissions-policy"), HeaderValue::from_static(site.permissions));
        headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        if is_gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// The file of this name in the folder, if there is one.
fn replaced(folder: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    if folder.as_os_str().is_empty() {
        return Ok(None);
    }
    match std::fs::read(folder.join(name)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the client accepts gzip: a coding with a quality of 0 is refused (RFC 9110 §12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let Some(codings) = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()) else { return false };
    codings.split(',').any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let quality = quality.trim().strip_prefix("q=").and_then(|number| number.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && quality.is_some_and(|quality| quality > 0.0)
    })
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, header: Option<(HeaderName, &str)>) -> Request<()> {
        let request = Request::builder().uri(path);
        match header {
            Some((name, value)) => request.header(name, value),
            None => request,
        }
        .body(())
        .unwrap()
    }

    #[test]
    fn a_document_refers_to_files_that_exist() {
        for site in [&FAMILY, &CONSOLE] {
            let pages = Pages::new(site, Path::new("")).unwrap();
            for &(path, file) in site.documents.iter().filter(|(_, file)| file.ends_with(".html")) {
                let page = pages.files.iter().find(|page| page.name == file).unwrap();
                let text = std::str::from_utf8(&page.plain).unwrap();
                let mark = format!("=\"{}", site.root);
                let names: Vec<_> = text.split(&mark).skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
                assert!(!names.is_empty(), "{path}");
                for name in names {
                    let asset = format!("{}{name}", site.root);
                    assert!(pages.asset(&get(&asset, None)).is_some(), "{path}: {asset}");
                }
                for inline in ["<style", "style=", " onclick=", "<script>"] {
                    assert!(!text.contains(inline), "{path}: {inline}");
                }
            }
        }
    }

    #[test]
    fn every_import_of_a_module_is_a_file_of_its_site() {
        for site in [&FAMILY, &CONSOLE] {
            let own = |name: &str| !name.starts_with("vendor/") && name.ends_with(".js");
            for (name, bytes) in site.files.iter().filter(|(name, _)| own(name)) {
                let text = std::str::from_utf8(bytes).unwrap();
                let folder = Path::new(name).parent().unwrap();
                let imports = text.split(['"', '\'']).filter(|word| word.starts_with("./") || word.starts_with("../"));
                for import in imports.filter(|word| word.ends_with(".js")) {
                    let mut path: Vec<&str> = folder.iter().map(|part| part.to_str().unwrap()).collect();
                    for part in import.split('/') {
                        match part {
                            "." => {}
                            ".." => {
                                path.pop();
                            }
                            part => path.push(part),
                        }
                    }
                    let path = path.join("/");
                    assert!(site.files.iter().any(|(file, _)| *file == path), "{name} imports {path}");
                }
            }
        }
    }

    #[test]
    fn the_service_worker_keeps_every_file_of_the_app() {
        let pages = Pages::new(&FAMILY, Path::new("")).unwrap();
        let plain = |name: &str| {
            let page = pages.files.iter().find(|page| page.name == name).unwrap();
            String::from_utf8(page.plain.to_vec()).unwrap()
        };
        let worker = plain("sw.js");
        assert!(worker.contains(&format!("const FOLDER = \"/web/{}\";", pages.version)));
        // Those of the toy and of the demo are no part of it.
        let others = ["app.html", "demo.", "toy.", "sw.js", "vendor/mqtt.js"];
        for (name, _) in FAMILY.files {
            let is_kept = worker.contains(&format!("\"{name}\""));
            assert_eq!(is_kept, !others.iter().any(|other| name.starts_with(other)), "{name}");
        }
    }

    #[test]
    fn only_the_current_version_has_files() {
        let pages = Pages::new(&FAMILY, Path::new("")).unwrap();
        let there = |path: &str| pages.asset(&get(path, None)).is_some();
        assert!(there(&format!("/web/{}/app.js", pages.version)));
        assert!(!there("/web/0123456789abcdef/app.js") && !there("/web/app.js"));
        assert!(!there(&format!("/web/{}/app.html", pages.version)));
        assert!(pages.document("app.js.map", &get("/", None)).is_none());
    }

    #[test]
    fn a_file_of_the_folder_replaces_the_embedded_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("demo.html"), "of the folder").unwrap();
        let pages = Pages::new(&FAMILY, folder.path()).unwrap();
        let plain = |name: &str| pages.files.iter().find(|page| page.name == name).unwrap().plain.clone();
        assert_eq!(plain("demo.html"), "of the folder");
        assert!(plain("app.html").starts_with(b"<!doctype html>"));
    }

    #[test]
    fn a_client_gets_what_it_can_read() {
        let pages = Pages::new(&FAMILY, Path::new("")).unwrap();
        let encoding = |accepted: &str| {
            let answer = pages.document("app.html", &get("/", Some((ACCEPT_ENCODING, accepted)))).unwrap();
            answer.headers().get(CONTENT_ENCODING).cloned()
        };
        for accepted in ["gzip", "br, GZIP;q=0.5"] {
            assert_eq!(encoding(accepted).unwrap(), "gzip", "{accepted}");
        }
        for accepted in ["", "identity", "gzip;q=0", "br"] {
            assert_eq!(encoding(accepted), None, "{accepted}");
        }
        let tag = format!("\"other\", W/\"{}\"", pages.version);
        let again = pages.document("app.html", &get("/", Some((IF_NONE_MATCH, &tag)))).unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }
}
