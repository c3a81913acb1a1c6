//! Windows of an expression, and the same expression over a shorter one: for those who have looked for less time
//! than it looks back.

use std::time::Duration;

use promql_parser::parser::{Expr, Offset, VectorSelector};

use super::{Query, parts};

/// Why an expression tells nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooShort {
    /// It asks how fast something grows, and one look cannot tell.
    OneLook,
    /// It compares times of which the longest lies so many seconds back: a shorter one would be compared with
    /// itself.
    Compares(u64),
}

impl Query {
    /// The same over what there is: over `held_s` seconds where its window is longer.
    ///
    /// # Errors
    /// There is no window at all yet, or it compares windows, and there is less than the longest of them.
    pub fn narrowed(&self, held_s: f64) -> Result<Self, TooShort> {
        let mut windows = Windows::default();
        windows.take(&self.expr);
        let Some(longest) = windows.longest else { return Ok(self.clone()) };
        if held_s <= 0.0 {
            return Err(TooShort::OneLook);
        }
        let held = Duration::from_secs_f64(held_s);
        if longest <= held {
            return Ok(self.clone());
        }
        if windows.compares {
            return Err(TooShort::Compares(longest.as_secs()));
        }
        let mut narrowed = self.clone();
        narrow(&mut narrowed.expr, held);
        Ok(narrowed)
    }
}

/// How far back an expression looks.
#[derive(Default)]
struct Windows {
    longest: Option<Duration>,
    compares: bool,
}

impl Windows {
    fn take(&mut self, expr: &Expr) {
        if let Expr::Subquery(of) = expr {
            // Its steps lie side by side: what is within looks back from each of them.
            let mut within = Self::default();
            within.take(&of.expr);
            self.window(of.range + within.longest.unwrap_or_default(), moved(of.offset.as_ref()));
            self.compares = true;
            return;
        }
        if let Expr::MatrixSelector(of) = expr {
            self.window(of.range, moved(of.vs.offset.as_ref()));
        }
        if let Expr::VectorSelector(VectorSelector { offset: offset @ Some(_), .. }) = expr {
            self.window(Duration::ZERO, moved(offset.as_ref()));
        }
        parts(expr).into_iter().for_each(|part| self.take(part));
    }

    fn window(&mut self, range: Duration, moved: Duration) {
        let back = range + moved;
        self.compares |= !moved.is_zero() || self.longest.is_some_and(|known| known != back);
        self.longest = self.longest.max(Some(back));
    }
}

fn moved(offset: Option<&Offset>) -> Duration {
    match offset {
        Some(Offset::Pos(by) | Offset::Neg(by)) => *by,
        None => Duration::ZERO,
    }
}

/// Shortens every window.
fn narrow(expr: &mut Expr, to: Duration) {
    match expr {
        Expr::MatrixSelector(of) => of.range = to,
        Expr::Aggregate(group) => {
            narrow(&mut group.expr, to);
            group.param.iter_mut().for_each(|param| narrow(param, to));
        }
        Expr::Unary(of) => narrow(&mut of.expr, to),
        Expr::Binary(both) => {
            narrow(&mut both.lhs, to);
            narrow(&mut both.rhs, to);
        }
        Expr::Paren(of) => narrow(&mut of.expr, to),
        Expr::Call(call) => call.args.args.iter_mut().for_each(|part| narrow(part, to)),
        Expr::Subquery(_)
        | Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::Extension(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed(text: &str, held_s: f64) -> Result<String, TooShort> {
        Query::parse(text).unwrap().narrowed(held_s).map(|query| query.expr.to_string())
    }

    // Mutations: a gauge that waits for a second look; a window that stays, so that growth in half a minute is
    // shared out over ten; one that grows to what there is.
    #[test]
    fn one_window_is_read_over_what_there_is() {
        assert_eq!(narrowed("max(up)", 0.0), Ok("max(up)".to_owned()));
        assert_eq!(narrowed("sum(rate(a[10m]))", 0.0), Err(TooShort::OneLook));
        let both = "sum(rate(a[10m])) / (sum(rate(b[10m])) > 0)";
        assert_eq!(narrowed(both, 30.0), Ok("sum(rate(a[30s])) / (sum(rate(b[30s])) > 0)".to_owned()));
        assert_eq!(narrowed("rate(a[10s])", 30.0), Ok("rate(a[10s])".to_owned()));
    }

    // Mutation: narrowing them: five minutes against the hour are then half a minute against itself, which is
    // always the same, and so healthy.
    #[test]
    fn windows_that_are_compared_are_not_narrowed() {
        for (text, longest) in [
            ("rate(a[5m]) / rate(a[1h])", 3_600),
            ("rate(a[5m]) / rate(a[5m] offset 1w)", 604_800 + 300),
            ("stddev_over_time(sum(rate(a[5m]))[1h:5m])", 3_900),
            ("a / a offset 1h", 3_600),
        ] {
            assert_eq!(narrowed(text, 60.0), Err(TooShort::Compares(longest)), "{text}");
            assert!(narrowed(text, 1_000_000.0).is_ok(), "{text}");
        }
    }
}
