//! Topics and filters of MQTT, and how safely a message is delivered.

use std::fmt;
use std::str::FromStr;

use super::Malformed;

/// The topic name of a publish: MQTT 3.1.1 §4.7, not empty, no wildcards, no NUL, at most 65,535 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(pub(super) Box<str>);

impl Topic {
    /// The topic's text.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Topic {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.is_empty() || text.len() > 65_535 || text.bytes().any(|byte| matches!(byte, b'+' | b'#' | 0)) {
            return Err(Malformed("a topic name is not empty and has no '+', '#' or NUL"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A subscription's topic filter: MQTT 3.1.1 §4.7.1. `+` stands for one level, a final `#` for the rest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(Box<str>);

impl TopicFilter {
    /// The filter's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a publish to `topic` matches. A wildcard in the first level does not match `$…` topics (§4.7.2).
    pub fn matches(&self, topic: &Topic) -> bool {
        let topic = topic.as_str();
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = topic.split('/');
        for level in self.0.split('/') {
            if level == "#" {
                return true;
            }
            match levels.next() {
                Some(name) if level == "+" || level == name => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

impl From<&Topic> for TopicFilter {
    fn from(topic: &Topic) -> Self {
        Self(topic.0.clone())
    }
}

impl FromStr for TopicFilter {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        const EXPECTED: Malformed = Malformed("a topic filter is not empty; '+' fills a level, '#' is the last level");
        if text.is_empty() || text.len() > 65_535 || text.contains('\0') {
            return Err(EXPECTED);
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let is_last = levels.peek().is_none();
            let good = match level {
                "+" => true,
                "#" => is_last,
                name => !name.contains(['+', '#']),
            };
            if !good {
                return Err(EXPECTED);
            }
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Quality of service of a publish or a subscription (MQTT 3.1.1 §4.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum QoS {
    /// Sent once, without acknowledgement.
    #[default]
    AtMostOnce = 0,
    /// Acknowledged; may arrive twice.
    AtLeastOnce = 1,
    /// Acknowledged in two steps; arrives once.
    ExactlyOnce = 2,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_follow_the_specification() {
        let cases = [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("/+", "/a", true),
            ("+", "/a", false),
            ("你/+", "你/好", true),
        ];
        for (filter, topic, expected) in cases {
            let filter: TopicFilter = filter.parse().unwrap();
            let topic: Topic = topic.parse().unwrap();
            assert_eq!(filter.matches(&topic), expected, "{filter} {topic}");
        }
        for bad in ["", "a#", "a/#/b", "a+/b", "#/a", "a\0"] {
            assert!(bad.parse::<TopicFilter>().is_err(), "{bad:?}");
        }
        for bad in ["", "a/+", "a/#", "\0"] {
            assert!(bad.parse::<Topic>().is_err(), "{bad:?}");
        }
    }
}
