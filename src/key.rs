//! Digests of client keys, and secrets that cannot be printed.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::sha256::Sha256;

/// The SHA-256 digest of a client key. The configuration holds only this digest, and never the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Computes the digest of `presented`, a key as a client sends it.
    pub fn of(presented: &[u8]) -> Self {
        Self(Sha256::of(presented))
    }

    /// Formats the digest as 64 hex digits, as the configuration writes it.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Formats only the first two bytes of the digest. A digest is not a key, but a whole digest that appears
/// in two logs would show that both logs are about the same client.
impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyDigest({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// The error of a text that is not a key digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write the 64 hex digits of the key's SHA-256 (printf %s \"$KEY\" | sha256sum)")]
pub struct ParseDigestError;

impl FromStr for KeyDigest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut digest = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != digest.len() || !rest.is_empty() {
            return Err(ParseDigestError);
        }
        for (byte, pair) in digest.iter_mut().zip(pairs) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Ok(Self(digest))
    }
}

fn hex_digit(byte: u8) -> Result<u8, ParseDigestError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(ParseDigestError),
    }
}

/// A text that must not be shown anywhere. It has no `Display` and no serialisation, and its `Debug` does
/// not contain the text. The text can be read only by [`Secret::expose`], which is easy to search for.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes a secret of a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns whether `presented` equals the secret. The time that the comparison takes does not reveal
    /// how much of `presented` matches, since all bytes of the two SHA-256 digests are compared.
    pub fn is_same(&self, presented: &[u8]) -> bool {
        let (own, other) = (Sha256::of(&self.0), Sha256::of(presented));
        let bytes = own.iter().zip(other);
        let differs = bytes.fold(0, |differs, (own, other)| differs | (own ^ other));
        std::hint::black_box(differs) == 0
    }

    /// Returns the text of the secret, for the code that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The prefix of a generated client key. Programs that scan repositories and logs for leaked secrets find a
/// key by it.
const PREFIX: &str = "sk-tollgate-";
/// The number of random bytes in a generated client key, equal to the length of the key's SHA-256 digest.
const RANDOM_BYTES: usize = 32;

/// The error that the operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes, so no key was made: try again")]
pub struct NoRandomness;

/// Generates a client key with 256 random bits from the operating system's random number generator.
///
/// # Errors
/// If the generator gives no bytes.
pub fn generate() -> Result<Secret, NoRandomness> {
    let mut random = [0; RANDOM_BYTES];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_| NoRandomness)?;
    Ok(Secret::new(
        PREFIX.to_owned() + &URL_SAFE_NO_PAD.encode(random),
    ))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_from_either_case_of_hex() {
        // SHA-256("abc"), FIPS 180-2 appendix B.1.
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(text.parse(), Ok(KeyDigest::of(b"abc")));
        assert_eq!(text.to_uppercase().parse(), Ok(KeyDigest::of(b"abc")));
    }

    #[test]
    fn anything_else_is_no_digest() {
        let long = "0".repeat(66);
        let odd = "0".repeat(63);
        let bad = "g".repeat(64);
        for text in ["", "abc", &long, &odd, &bad] {
            assert_eq!(text.parse::<KeyDigest>(), Err(ParseDigestError), "{text}");
        }
    }

    #[test]
    fn a_digest_is_written_as_it_is_read() {
        let digest = KeyDigest::of(b"abc");
        assert_eq!(digest.to_hex().parse(), Ok(digest));
        assert!(digest.to_hex().starts_with("ba7816bf8f01"));
    }

    #[test]
    fn generated_keys_have_256_bits_each_and_differ() {
        let keys: Vec<Secret> = (0..64).map(|_| generate().unwrap()).collect();
        let mut all = std::collections::BTreeSet::new();
        let mut ones = [0; 256];
        for key in &keys {
            let random = key.expose().strip_prefix("sk-tollgate-").unwrap();
            let random = URL_SAFE_NO_PAD.decode(random).unwrap();
            assert_eq!(random.len(), 32);
            assert!(key.expose().bytes().all(|b| b.is_ascii_graphic()));
            for (bit, ones) in ones.iter_mut().enumerate() {
                *ones += u32::from(random[bit / 8] >> (bit % 8) & 1);
            }
            assert!(all.insert(random));
        }
        // No bit is fixed: a random bit is the same in 64 keys once in 2^63.
        assert!(ones.iter().all(|ones| (1..64).contains(ones)), "{ones:?}");
    }

    #[test]
    fn secrets_do_not_print() {
        let secret = Secret::new("sk-very-secret".into());
        assert!(!format!("{secret:?} {:?}", Some(&secret)).contains("very"));
        assert!(secret.is_same(b"sk-very-secret"));
        for other in [
            &b"sk-very-secre"[..],
            b"sk-very-secret ",
            b"",
            b"Sk-very-secret",
        ] {
            assert!(!secret.is_same(other));
        }
        let digest = format!("{:?}", KeyDigest::of(b"abc"));
        assert!(digest.len() < 20, "{digest}");
    }
}
