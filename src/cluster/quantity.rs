//! Quantities of Kubernetes: `250m`, `128Mi`, `1e3`.

/// A quantity as a number: cores or bytes.
///
/// # Errors
/// The text is no quantity that is zero or more.
pub fn quantity(text: &str) -> Result<f64, String> {
    const ENDS: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let ended = ENDS.iter().find_map(|(end, times)| Some((text.strip_suffix(end)?, *times)));
    let (number, times) = ended.unwrap_or((text, 1.0));
    // Rust would take `inf` and `nan` too.
    let plain = number.starts_with(|first: char| first.is_ascii_digit() || ['.', '+'].contains(&first));
    let value = number.parse::<f64>().ok().filter(|_| plain).map(|value| value * times);
    value.filter(|value| value.is_finite()).ok_or_else(|| format!("{text:?} is no quantity"))
}

#[cfg(test)]
mod tests {
    use super::quantity;

    // Mutations: `Mi` read as `M` with a rest, `E` as an exponent, thousands for 1024.
    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, value) in [
            ("0", 0.0),
            ("250m", 0.25),
            ("49999238n", 0.049_999_238),
            ("910000000", 910_000_000.0),
            ("128Mi", 134_217_728.0),
            ("1.5Gi", 1_610_612_736.0),
            ("2k", 2000.0),
            ("1e3", 1000.0),
            ("2E", 2e18),
            ("+1", 1.0),
        ] {
            assert_eq!(quantity(text), Ok(value), "{text}");
        }
        for text in ["", "m", "Mi", "-1", "1 Mi", "1mi", "nan", "inf", "1e999", "0x1", "1Mi1"] {
            assert!(quantity(text).is_err(), "{text}");
        }
    }
}
