//! Percent-encodes other parties' tokens, such as job ids, for URLs.

/// Percent-encodes a text for one segment of a path or for a query: all but RFC 3986's unreserved
/// characters become `%XX`.
pub fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                encoded.push(char::from(byte));
            }
            _ => {
                encoded.push('%');
                for digit in [byte >> 4, byte & 0xF] {
                    encoded.extend(
                        char::from_digit(u32::from(digit), 16).map(|c| c.to_ascii_uppercase()),
                    );
                }
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_no_plain_character_is_encoded() {
        for (text, encoded) in [
            ("video_aB-9.~", "video_aB-9.~"),
            ("a:b/c=+ ?#&%", "a%3Ab%2Fc%3D%2B%20%3F%23%26%25"),
            ("\u{e4}\n\u{1f3ac}", "%C3%A4%0A%F0%9F%8E%AC"),
        ] {
            assert_eq!(percent_encoded(text), encoded);
        }
    }
}
