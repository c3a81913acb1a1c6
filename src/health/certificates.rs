//! The life of a certificate: how much of it is left, whether its renewal is overdue, and whether one that is
//! under way hangs.

use jiff::Timestamp;

use crate::model::indicator::Figure;

/// A renewal may be retried for a tenth of the life before somebody has to look.
const OVERDUE: f64 = 0.10;
/// Below this share of the life, renewal has failed whatever the reason.
const SHORT: f64 = 0.15;
/// An issuance takes seconds. One that has been under way for longer than this many hangs, and is no reason
/// to wait any more; the playbook that we ship says so to people.
const HANGS_S: i64 = 600;

/// Times of a certificate, as its owner tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Valid from.
    pub not_before: Option<Timestamp>,
    /// Valid until.
    pub not_after: Option<Timestamp>,
    /// When it is to be renewed.
    pub renewal: Option<Timestamp>,
    /// Whether a new one is being issued, and since when.
    pub issuing: Option<Option<Timestamp>>,
}

impl Life {
    /// Seconds of the whole life, and its end.
    fn whole(&self) -> Result<(f64, Timestamp), String> {
        // One that was never issued has no end: it is not expired.
        let end = self.not_after.ok_or("it was not issued yet")?;
        let begin = self.not_before.ok_or("nobody says when its life began")?;
        let whole = end.duration_since(begin).as_secs_f64();
        if whole <= 0.0 {
            return Err("it ends before it begins".to_owned());
        }
        Ok((whole, end))
    }

    /// Share of its life that is left.
    ///
    /// # Errors
    /// It does not say.
    pub fn left(&self, now: Timestamp) -> Result<Figure, String> {
        let (whole, end) = self.whole()?;
        let value = (end.duration_since(now).as_secs_f64() / whole).clamp(0.0, 1.0);
        Ok(Figure { value, samples: 1.0 })
    }

    /// What of its life can be relied on: the share that is left, and never more than a short one while its
    /// renewal did not come. Asking for a new certificate makes nothing better; having it does.
    ///
    /// # Errors
    /// It does not say.
    pub fn validity(&self, now: Timestamp) -> Result<Figure, String> {
        let left = self.left(now)?;
        let value = if self.late(now)? { left.value.min(SHORT) } else { left.value };
        Ok(Figure { value, ..left })
    }

    /// Whether its renewal did not come.
    ///
    /// # Errors
    /// It does not say, or the renewal is under way.
    pub fn expiring(&self, now: Timestamp) -> Result<bool, String> {
        let late = self.late(now)?;
        let hangs = |since: Timestamp| now.duration_since(since).as_secs() > HANGS_S;
        if late && self.issuing.flatten().is_some_and(|since| !hangs(since)) {
            return Err("a new one is being issued".to_owned());
        }
        Ok(late)
    }

    fn late(&self, now: Timestamp) -> Result<bool, String> {
        let (whole, _) = self.whole()?;
        let overdue = self.renewal.is_some_and(|due| now.duration_since(due).as_secs_f64() > OVERDUE * whole);
        Ok(overdue || self.left(now)?.value < SHORT)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + hour * 3600).unwrap()
    }

    fn life() -> Life {
        Life { not_before: Some(at(0)), not_after: Some(at(100)), renewal: Some(at(66)), issuing: None }
    }

    // Mutation: `renewal` alone makes an alarm of every certificate that waits for its retry.
    #[test]
    fn it_expires_when_its_renewal_is_overdue_or_little_is_left() {
        for (hour, expiring) in [(50, false), (70, false), (76, false), (77, true), (99, true), (200, true)] {
            assert_eq!(life().expiring(at(hour)), Ok(expiring), "{hour}");
        }
        let unplanned = Life { renewal: None, ..life() };
        assert_eq!(unplanned.expiring(at(84)), Ok(false));
        assert_eq!(unplanned.expiring(at(86)), Ok(true));
        assert_eq!(life().left(at(75)).unwrap().value, 0.25);
        assert_eq!(life().left(at(200)).unwrap().value, 0.0);
    }

    #[test]
    fn what_is_under_way_or_not_said_is_unknown() {
        let issuing = Life { issuing: Some(Some(at(90))), ..life() };
        let later = |seconds: i64| at(90) + SignedDuration::from_secs(seconds);
        assert!(issuing.expiring(at(90)).is_err() && issuing.expiring(later(600)).is_err());
        // Mutation: an issuance is an excuse however old it is, and the certificate ends without a word.
        assert_eq!(issuing.expiring(later(601)), Ok(true));
        assert_eq!(Life { issuing: Some(None), ..life() }.expiring(at(90)), Ok(true));
        assert_eq!(issuing.expiring(at(50)), Ok(false));
        // Mutation: reading a missing end as zero makes expired ones of those never issued.
        for unknown in [
            Life { not_after: None, ..life() },
            Life { not_before: None, ..life() },
            Life { not_before: Some(at(100)), ..life() },
            Life::default(),
        ] {
            assert!(unknown.expiring(at(90)).is_err() && unknown.left(at(90)).is_err(), "{unknown:?}");
            assert!(unknown.validity(at(90)).is_err(), "{unknown:?}");
        }
    }

    // Mutation: by what is left alone (23 %, no more than a warning) asking looks like having been renewed.
    #[test]
    fn as_long_as_the_renewal_is_overdue_the_certificate_is_not_well() {
        let asked = Life { issuing: Some(Some(at(77))), ..life() };
        for (life, hour, value) in
            [(life(), 70, 0.3), (life(), 77, 0.15), (asked, 77, 0.15), (asked, 90, 0.1)]
        {
            assert_eq!(life.validity(at(hour)).unwrap().value, value, "{hour}");
        }
        let renewed =
            Life { not_before: Some(at(77)), not_after: Some(at(177)), renewal: Some(at(143)), ..asked };
        assert_eq!(renewed.validity(at(77)).unwrap().value, 1.0);
    }
}
