//! Rates as people write them: `5/s`, `30/m`, or `off`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As often as it likes.
    Off,
    /// So many times a second.
    PerSecond(NonZeroU32),
    /// So many times a minute.
    PerMinute(NonZeroU32),
}

impl Rate {
    /// Time between two in the long run; `None` without a limit.
    #[must_use]
    pub fn every(self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::PerSecond(count) => Some(Duration::from_secs(1) / count.get()),
            Self::PerMinute(count) => Some(Duration::from_secs(60) / count.get()),
        }
    }

    /// How many may come at once: what is allowed in two seconds, and at least two, so that an act and
    /// its undo never wait for each other.
    #[must_use]
    pub fn burst(self) -> NonZeroU32 {
        const TWO: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);
        match self {
            Self::Off | Self::PerMinute(_) => TWO,
            Self::PerSecond(count) => count.saturating_add(count.get()),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let bad = || format!("{text:?} is not a rate; write for instance 5/s, 30/m or off");
        let (count, unit) = text.split_once('/').ok_or_else(bad)?;
        let count: NonZeroU32 = count.parse().map_err(|_| bad())?;
        match unit {
            "s" => Ok(Self::PerSecond(count)),
            "m" => Ok(Self::PerMinute(count)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::PerSecond(count) => write!(f, "{count}/s"),
            Self::PerMinute(count) => write!(f, "{count}/m"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_round_trip_and_nothing_else_is_one() {
        for text in ["5/s", "30/m", "off"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        // Mutation: taking zero for a rate stops every write for ever.
        for bad in ["", "0/s", "5", "5/h", "/s", "-1/s", "s/5", "1.5/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        assert_eq!("5/s".parse::<Rate>().unwrap().burst().get(), 10);
    }
}
