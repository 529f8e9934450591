//! The wall clock and randomness, passed as values so that a test can choose them.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

/// Returns the wall-clock time.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl WallClock {
    /// The system clock.
    pub fn system() -> Self {
        Self::new(Timestamp::now)
    }

    /// A clock that returns the result of the function.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// The current time in Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.now().as_millisecond()
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}

/// Generates random bytes, for unique names.
#[derive(Clone)]
pub struct Entropy(Arc<FillFn>);

type FillFn = dyn Fn(&mut [u8]) + Send + Sync;

impl Entropy {
    /// The operating system's random generator.
    pub fn system() -> Self {
        Self::new(|bytes| getrandom::fill(bytes).expect("the operating system has randomness"))
    }

    /// A generator that fills bytes with the function.
    pub fn new(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    /// A name of 128 random bits, as 32 hexadecimal digits.
    pub fn random_hex(&self) -> String {
        let mut bytes = [0_u8; 16];
        (self.0)(&mut bytes);
        hex::encode(bytes)
    }

    /// A UUID of version 4, as AWS uses for messages and invocations.
    pub fn uuid(&self) -> String {
        let mut bytes = [0_u8; 16];
        (self.0)(&mut bytes);
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let text = hex::encode(bytes);
        format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_has_version_bits() {
        let ones = Entropy::new(|bytes| bytes.fill(0xff));
        assert_eq!(ones.uuid(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_ne!(Entropy::system().random_hex(), Entropy::system().random_hex());
    }
}
