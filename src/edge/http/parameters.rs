//! Parameters of a header, `form-data; name="a b"` (RFC 9110 §5.6.6). Like some clients write them, they may have
//! spaces around `;` and `=`, and names in any case.

/// The value of the first parameter of a name.
pub(super) fn parameter(header: &str, name: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let end = rest.find(['=', ';'])?;
        let (key, after) = (rest[..end].trim_end(), &rest[end..]);
        let Some(after) = after.strip_prefix('=') else {
            rest = after;
            continue;
        };
        let after = after.trim_start();
        let (value, behind) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (value, behind) = after.split_at(after.find(';').unwrap_or(after.len()));
                (value.trim_end().to_owned(), behind)
            }
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = behind;
    }
}

/// The text up to the closing quotation mark, and the rest after it.
fn unquote(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (text, &quoted[at + 1..]),
            '\\' => text.extend(chars.next().map(|(_, escaped)| escaped)),
            char => text.push(char),
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_however_it_is_written() {
        for header in [
            "form-data; name=user_id",
            "form-data; name=\"user_id\"",
            "form-data ;Name = \"user_id\" ; filename=\"a;name=b.wav\"",
            "form-data; filename=\"a\\\"; name=x\"; NAME=user_id",
            "form-data; flag; ; name=\"user_id",
        ] {
            assert_eq!(parameter(header, "name").as_deref(), Some("user_id"), "{header}");
        }
        assert_eq!(parameter("multipart/form-data; boundary=\"a b\"; x=y", "boundary").as_deref(), Some("a b"));
        for header in ["form-data", "form-data;", "form-data; filename=name", "form-data; name", ""] {
            assert_eq!(parameter(header, "name"), None, "{header}");
        }
    }
}
