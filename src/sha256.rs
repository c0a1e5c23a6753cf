//! Computes SHA-256 digests with `ring`, the library that also does TLS.
//!
//! On processors without SHA instructions, `ring` runs assembly code, which takes half the time of compiled
//! Rust code. The latter is 10 KB of code without a loop, and evicts the code of the request path from the
//! processor's cache.

use ring::digest::{Context, SHA256};

/// A SHA-256 digest that is being computed.
#[derive(Clone)]
pub(crate) struct Sha256(Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Sha256 {
    /// Computes the digest of `bytes`.
    pub(crate) fn of(bytes: impl AsRef<[u8]>) -> [u8; 32] {
        Self::default().with(bytes).finish()
    }

    /// Adds the next bytes to the digest.
    pub(crate) fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes.as_ref());
    }

    /// Adds the next bytes, and returns the unfinished digest for further calls.
    pub(crate) fn with(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.update(bytes);
        self
    }

    /// Computes the digest of all bytes so far.
    pub(crate) fn finish(self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest as _;

    #[test]
    fn another_implementation_has_the_same() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for length in 0..bytes.len() {
            let (bytes, cut) = (&bytes[..length], length / 3);
            let expected: [u8; 32] = sha2::Sha256::digest(bytes).into();
            let pieces = Sha256::default().with(&bytes[..cut]).with(&bytes[cut..]);
            assert_eq!((Sha256::of(bytes), pieces.finish()), (expected, expected));
        }
    }
}
