//! What a body holds, for benches that only run it through.

use std::convert::Infallible;
use std::hint::black_box;

use tollgate::form::{Field, Release, Sink};

/// A sink that takes everything.
#[derive(Default)]
pub struct Count {
    /// Fields that have begun.
    pub fields: usize,
    /// Bytes of their values.
    pub bytes: usize,
}

impl Sink for Count {
    type Refusal = Infallible;

    fn begin(&mut self, _field: Field<'_>) -> Result<Release, Infallible> {
        self.fields += 1;
        Ok(Release::AtOnce)
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.bytes += black_box(bytes).len();
        Ok(())
    }

    fn end(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
