//! The differences between the simulated cluster and the real one that stay, each with its reason.

use serde_json::Value;

use super::alike::Gap;
use super::ask::Ask;
use super::written::UNCHECKED;

/// Which story must need an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Story {
    Written,
    Generated,
}

/// A difference that stays.
pub(crate) struct Listed {
    /// What differs, and why that stays.
    pub(crate) why: &'static str,
    /// The story that fails when the difference is gone.
    pub(crate) shown_by: Story,
    pub(crate) fits: fn(&Ask, &Gap) -> bool,
}

/// Whether the text at a place begins so on the real side.
fn says(gap: &Gap, at: &str, start: &str) -> bool {
    gap.at == at && gap.real.as_ref().and_then(Value::as_str).is_some_and(|text| text.starts_with(start))
}

pub(crate) static LISTED: [Listed; 7] = [
    Listed {
        why: "Objects are not checked against schemas and rules: who writes nonsense is not told, and what the \
              schema does not know is kept. The simulation is for clients that write what is valid; a whole \
              schema would be most of a real server.",
        shown_by: Story::Written,
        fits: |ask, _| ask.path.contains(UNCHECKED),
    },
    Listed {
        why: "What a patch or an object that cannot be read is told is the text of another parser; the code and \
              the reason are the same.",
        shown_by: Story::Written,
        fits: |_, gap| {
            ["error decoding patch: ", "the object provided is unrecognized"]
                .iter()
                .any(|start| says(gap, "/body/message", start))
        },
    },
    Listed {
        why: "An object of another kind is refused without the name of the conversion that failed.",
        shown_by: Story::Written,
        fits: |_, gap| {
            says(gap, "/body/message", "Service in version \"v1\" cannot be handled as a ConfigMap: ")
        },
    },
    Listed {
        why: "A custom object without a name gets one cause; the real server adds that other rules were not \
              checked, and there are none here.",
        shown_by: Story::Written,
        fits: |_, gap| {
            let first =
                "VirtualService.networking.istio.io \"\" is invalid: [metadata.name: Required value: ";
            says(gap, "/body/message", first) || gap.at == "/body/details/causes/1"
        },
    },
    Listed {
        why: "A continue token that cannot be read is refused without the fault of its encoding: tokens are \
              written in another form here.",
        shown_by: Story::Generated,
        fits: |_, gap| says(gap, "/body/message", "invalid continue token: continue key is not valid: "),
    },
    Listed {
        why: "What is wrong with a label selector is told in other words.",
        shown_by: Story::Written,
        fits: |ask, gap| ask.path.contains("labelSelector=") && gap.at.ends_with("/message"),
    },
    Listed {
        why: "Lists show what is there now: neither the version a list asks for, nor the one its first page was \
              of, is gone back to. Objects of the past are not kept.",
        shown_by: Story::Written,
        fits: |ask, gap| {
            let past = ["continue=<<continue>>", "resourceVersionMatch=Exact"];
            past.iter().any(|query| ask.path.contains(query)) && gap.at.starts_with("/body/items")
        },
    },
];
