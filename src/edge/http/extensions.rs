//! Agreeing on compression in the WebSocket handshake (RFC 7692 §5 and §7.1).

/// The extension's name.
const DEFLATE: &str = "permessage-deflate";
/// The answer to most offers: each message stands alone, so that nobody keeps a window between two of them.
const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
/// The answer to those who ask for the window that is used anyway.
const ANSWER_WITH_WINDOW: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15";

/// The answer to the first offer that can be kept, given the values of `Sec-WebSocket-Extensions`.
pub(super) fn agree<'a>(values: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    values.flat_map(|value| value.split(',')).find_map(answer)
}

/// An offer with a parameter that is unknown, repeated, or beyond its range is declined, as §7.1 asks. So is one that
/// limits the hub's window: the compressor has one size only.
fn answer(offer: &str) -> Option<&'static str> {
    let mut parameters = offer.split(';').map(str::trim);
    if parameters.next() != Some(DEFLATE) {
        return None;
    }
    let mut answer = ANSWER;
    let mut seen = Vec::new();
    for parameter in parameters {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start()))),
            None => (parameter, None),
        };
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits", None) => {}
            // The hub inflates with the largest window, whatever the client takes.
            ("client_max_window_bits", Some("8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")) => {}
            ("server_max_window_bits", Some("15")) => answer = ANSWER_WITH_WINDOW,
            _ => return None,
        }
    }
    Some(answer)
}

/// A value may be quoted (RFC 6455 §9.1).
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_that_can_be_kept_are_answered() {
        for (offer, answer) in [
            ("permessage-deflate", ANSWER),
            ("permessage-deflate; client_max_window_bits", ANSWER),
            (" permessage-deflate ;client_max_window_bits = 8", ANSWER),
            ("permessage-deflate; client_no_context_takeover; server_no_context_takeover", ANSWER),
            ("permessage-deflate; client_max_window_bits=\"10\"", ANSWER),
            ("permessage-deflate; server_max_window_bits=15", ANSWER_WITH_WINDOW),
            ("permessage-deflate; server_max_window_bits=10, permessage-deflate", ANSWER),
            ("x-webkit-deflate-frame, permessage-deflate;client_max_window_bits", ANSWER),
        ] {
            assert_eq!(agree([offer].into_iter()), Some(answer), "{offer}");
        }
        assert_eq!(agree(["other; a=1", "permessage-deflate"].into_iter()), Some(ANSWER), "in two header lines");
    }

    #[test]
    fn offers_that_cannot_are_declined() {
        for offer in [
            "",
            "permessage-bzip2",
            "permessage-deflate2",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=14",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=015",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; unknown",
            "permessage-deflate;",
        ] {
            assert_eq!(agree([offer].into_iter()), None, "{offer}");
        }
    }
}
