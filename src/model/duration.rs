//! Durations as people write them: a number with a unit, `90s`, `10m`, `1h30m`, `250ms`.
//!
//! A bare number is refused everywhere, because nobody remembers whether it meant seconds.

use std::time::Duration;

/// Units from large to small with their milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads `1h30m`, `90s`, `250ms`, `7d`.
///
/// # Errors
/// Says what is wrong with the text: no unit, unknown unit, or too long (more than ten years).
pub fn parse(text: &str) -> Result<Duration, String> {
    let bad = |why: &str| format!("{text:?} is not a duration ({why}); write for instance 90s, 10m or 1h30m");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad("it is empty"));
    }
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| bad("a number is expected"))?;
        let unit_len = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = &rest[digits..digits + unit_len];
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| {
            bad(if unit.is_empty() { "the unit is missing" } else { "the unit is not one of d, h, m, s, ms" })
        })?;
        millis = number
            .checked_mul(*factor)
            .and_then(|part| millis.checked_add(part))
            .filter(|sum| *sum <= 3_650 * 86_400_000)
            .ok_or_else(|| bad("it is longer than ten years"))?;
        rest = &rest[digits + unit_len..];
    }
    Ok(Duration::from_millis(millis))
}

/// Writes a duration the way [`parse`] reads it, with at most two units: `1h30m`, `45s`, `0s`.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    let mut parts = 0;
    for (unit, factor) in UNITS {
        let count = millis / factor;
        if count > 0 && parts < 2 {
            text.push_str(&format!("{count}{unit}"));
            millis %= factor;
            parts += 1;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_units_and_round_trip() {
        assert_eq!(parse("1h30m").unwrap(), Duration::from_secs(5_400));
        assert_eq!(parse("250ms").unwrap(), Duration::from_millis(250));
        for text in ["1h30m", "45s", "10m", "7d", "250ms", "1s500ms"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        for bad in ["", "10", "h", "10 m", "-5s", "5y", "99999999d", "1é"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
