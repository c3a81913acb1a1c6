//! Draws: every number is a hash of the seed, of whom it is for, of its purpose and of the time slot, never
//! the next number of a shared stream. So two runs of one seed draw the same, whatever happens in one of
//! them and not in the other, and a draw that is added changes no other.

/// What all draws of a world follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(pub(crate) u64);

/// The draws of one entity for one purpose: a place in a world, from which numbers are read by slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw(u64);

/// Spreads the bits of a number over the whole of it (the end of `splitmix64`).
const fn mixed(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A step that is no multiple of a power of two: the golden ratio in 64 bits.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// FNV-1a over the bytes of a word, which then is mixed.
fn folded(mut x: u64, word: &str) -> u64 {
    for byte in word.bytes() {
        x = (x ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    }
    mixed(x ^ STEP)
}

impl Seed {
    /// The draws for an entity and a purpose.
    pub(crate) fn of(self, entity: &str, purpose: &str) -> Draw {
        let start = mixed(self.0.wrapping_add(1).wrapping_mul(STEP));
        Draw(folded(folded(start, entity), purpose))
    }
}

impl Draw {
    /// The draws of a part of this, such as one service of many.
    pub(crate) fn at(self, slot: u64) -> Self {
        Self(mixed(self.0 ^ slot.wrapping_add(1).wrapping_mul(STEP)))
    }

    /// The draws of a named part of this.
    pub(crate) fn named(self, name: &str) -> Self {
        Self(folded(self.0, name))
    }

    /// A number in [0, 1).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub(crate) fn uniform(self) -> f64 {
        (mixed(self.0 ^ STEP) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number from `low` to `high`.
    pub(crate) fn between(self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// A whole number from `low` to `high`, both possible.
    pub(crate) fn whole(self, low: u64, high: u64) -> u64 {
        let span = high.saturating_sub(low).saturating_add(1);
        low + self.0.wrapping_mul(STEP).rotate_left(31).checked_rem(span).unwrap_or(0)
    }

    /// Whether something happens that does with this chance.
    pub(crate) fn chance(self, share: f64) -> bool {
        self.uniform() < share
    }

    /// A number whose logarithm is uniform.
    pub(crate) fn log_uniform(self, low: f64, high: f64) -> f64 {
        (low.ln() + (high.ln() - low.ln()) * self.uniform()).exp()
    }

    /// A number of the normal distribution (Box and Muller), cut at four deviations.
    pub(crate) fn normal(self) -> f64 {
        let (first, second) = (1.0 - self.at(0).uniform(), self.at(1).uniform());
        let number = (-2.0 * first.ln()).sqrt() * (std::f64::consts::TAU * second).cos();
        number.clamp(-4.0, 4.0)
    }

    /// A log-normal number by its median and its 90th percentile.
    pub(crate) fn log_normal(self, median: f64, p90: f64) -> f64 {
        /// The 90th percentile of the normal distribution.
        const Z90: f64 = 1.281_551_565_5;
        median * ((p90 / median).ln() / Z90 * self.normal()).exp()
    }

    /// A log-normal factor around one with this deviation of its logarithm and a mean of one.
    pub(crate) fn noise(self, sigma: f64) -> f64 {
        (sigma * self.normal() - sigma * sigma / 2.0).exp()
    }

    /// Which of several it is, by their weights.
    pub(crate) fn weighted(self, weights: &[f64]) -> usize {
        let all: f64 = weights.iter().sum();
        let mut left = self.uniform() * all;
        for (index, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
        weights.len().saturating_sub(1)
    }

    /// One of several by weight.
    pub(crate) fn pick<T: Copy>(self, of: &[(T, f64)]) -> T {
        let weights: Vec<f64> = of.iter().map(|(_, weight)| *weight).collect();
        of[self.weighted(&weights)].0
    }

    /// One of several, each as likely.
    pub(crate) fn one_of<T>(self, of: &[T]) -> Option<&T> {
        let last = u64::try_from(of.len()).unwrap_or(0).checked_sub(1)?;
        of.get(usize::try_from(self.whole(0, last)).unwrap_or(0))
    }

    /// Shares of a whole by a Dirichlet distribution whose parameters all are `alpha`: the smaller, the more
    /// unequal.
    pub(crate) fn dirichlet(self, count: usize, alpha: f64) -> Vec<f64> {
        let parts: Vec<f64> = (0..count)
            .map(|index| self.at(u64::try_from(index).unwrap_or(0)).gamma(alpha).max(1e-9))
            .collect();
        let all: f64 = parts.iter().sum();
        parts.into_iter().map(|part| part / all).collect()
    }

    /// A number of the gamma distribution (Marsaglia and Tsang), with at most 32 tries.
    fn gamma(self, alpha: f64) -> f64 {
        if alpha < 1.0 {
            let boost = (1.0 - self.named("boost").uniform()).powf(1.0 / alpha);
            return self.named("above one").gamma(alpha + 1.0) * boost;
        }
        let d = alpha - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        for slot in 0..32 {
            let tried = self.at(slot);
            let x = tried.named("normal").normal();
            let v = (1.0 + c * x).powi(3);
            let limit = 0.5 * x * x + d - d * v + d * v.max(f64::MIN_POSITIVE).ln();
            if v > 0.0 && (1.0 - tried.named("accept").uniform()).ln() < limit {
                return d * v;
            }
        }
        d
    }
}

/// What the draws promise.
pub(crate) mod tests {
    use super::Seed;

    /// One seed draws the same twice; another entity, purpose, slot or seed draws something else.
    pub(crate) fn follow_from_the_names() {
        let of = |seed: u64, entity: &str, purpose: &str| Seed(seed).of(entity, purpose).uniform();
        assert!((of(1, "cart", "rate") - of(1, "cart", "rate")).abs() < f64::EPSILON, "one seed, one number");
        let others = [of(2, "cart", "rate"), of(1, "web", "rate"), of(1, "cart", "noise")];
        assert!(others.iter().all(|other| (other - of(1, "cart", "rate")).abs() > 1e-9), "{others:?}");
        // Mutation: a place that ignores its slot draws one number a thousand times.
        let place = Seed(1).of("cart", "noise");
        assert!((place.at(1).uniform() - place.at(2).uniform()).abs() > 1e-9, "slots differ");
    }

    /// Means and shares are those of the distributions.
    #[expect(clippy::cast_precision_loss, reason = "counts of a test")]
    pub(crate) fn have_the_promised_shapes() {
        const COUNT: u64 = 20_000;
        let place = Seed(7).of("test", "shape");
        let mean = |draw: &dyn Fn(u64) -> f64| (0..COUNT).map(draw).sum::<f64>() / COUNT as f64;
        let near =
            |found: f64, wanted: f64| assert!((found / wanted - 1.0).abs() < 0.05, "{found} is not {wanted}");
        near(mean(&|slot| place.at(slot).uniform()), 0.5);
        near(mean(&|slot| place.at(slot).noise(0.3)), 1.0);
        near(mean(&|slot| place.at(slot).normal().powi(2)), 1.0);
        near(mean(&|slot| place.at(slot).whole(2, 4) as f64), 3.0);
        near(mean(&|slot| f64::from(place.at(slot).log_normal(8.0, 60.0) < 60.0)), 0.9);
        near(mean(&|slot| f64::from(place.at(slot).log_uniform(1.0, 100.0) < 10.0)), 0.5);
        near(mean(&|slot| f64::from(place.at(slot).pick(&[(true, 1.0), (false, 3.0)]))), 0.25);
        let largest =
            |alpha: f64| mean(&|slot| place.at(slot).dirichlet(5, alpha).into_iter().fold(0.0, f64::max));
        let (unequal, equal) = (largest(0.3), largest(10.0));
        assert!(unequal > 0.6 && equal < 0.4, "alpha decides how unequal shares are: {unequal} {equal}");
        let sum: f64 = place.dirichlet(9, 0.5).iter().sum();
        near(sum, 1.0);
    }
}
