//! The least, the middle and the most of some measurements.

/// Measurements, of which there may be none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measurements(Vec<f64>);

impl Measurements {
    pub(crate) fn add(&mut self, value: f64) {
        let place = self.0.partition_point(|&other| other < value);
        self.0.insert(place, value);
    }

    pub(crate) fn min(&self) -> Option<f64> {
        self.0.first().copied()
    }

    pub(crate) fn max(&self) -> Option<f64> {
        self.0.last().copied()
    }

    /// The one in the middle; of an even number, the mean of the two.
    pub(crate) fn median(&self) -> Option<f64> {
        let middle = self.0.len() / 2;
        let upper = self.0.get(middle)?;
        if self.0.len().is_multiple_of(2) {
            Some(f64::midpoint(self.0[middle - 1], *upper))
        } else {
            Some(*upper)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[f64], expected: Option<(f64, f64, f64)>) {
        let mut measurements = Measurements::default();
        for &value in values {
            measurements.add(value);
        }
        let found = measurements.min().zip(measurements.median()).zip(measurements.max());
        assert_eq!(found.map(|((min, median), max)| (min, median, max)), expected, "{values:?}");
    }

    #[test]
    fn least_middle_and_most() {
        check(&[], None);
        check(&[2.5], Some((2.5, 2.5, 2.5)));
        check(&[3.0, 1.0], Some((1.0, 2.0, 3.0)));
        check(&[9.0, 1.0, 2.0], Some((1.0, 2.0, 9.0)));
        check(&[4.0, 4.0, 1.0, 8.0], Some((1.0, 4.0, 8.0)));
    }
}
