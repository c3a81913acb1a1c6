//! The tape: the choices of one run, drawn from the input of a property.

/// The choices of one run. After its end a pseudo-random continuation drawn from it goes on, so that a
/// run can be brought to its end with answers that are still random.
pub(crate) struct Tape {
    cells: Vec<u16>,
    at: usize,
    rest: u64,
}

impl Tape {
    pub(crate) fn new(cells: Vec<u16>) -> Self {
        let seed = cells.iter().fold(0x9e37_79b9_7f4a_7c15_u64, |hash, cell| {
            (hash ^ u64::from(*cell)).wrapping_mul(0x0100_0000_01b3).rotate_left(17)
        });
        Self { cells, at: 0, rest: seed | 1 }
    }

    /// A tape of this many pseudo-random choices.
    pub(crate) fn of(seed: u64, length: usize) -> Self {
        let mut source = Self::new(vec![u16::try_from(seed % 65_521).unwrap_or(0)]);
        source.at = 1;
        Self::new((0..length).map(|_| source.draw()).collect())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.at >= self.cells.len()
    }

    fn draw(&mut self) -> u16 {
        if let Some(cell) = self.cells.get(self.at) {
            self.at += 1;
            return *cell;
        }
        // xorshift64*: good enough to be unlike a pattern, and the same on every machine.
        self.rest ^= self.rest >> 12;
        self.rest ^= self.rest << 25;
        self.rest ^= self.rest >> 27;
        u16::try_from(self.rest.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 48).unwrap_or(0)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::from(self.draw()) % n.max(1)
    }

    /// One of these.
    pub(crate) fn one<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let index = self.below(items.len());
        &items[index]
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    /// The index of a choice, by weight.
    pub(crate) fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut rest = self.below(weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            if rest < *weight {
                return index;
            }
            rest -= weight;
        }
        0
    }
}
