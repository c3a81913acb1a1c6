//! Rules: texts of playbooks and policies to checked values that the engine asks.

mod alerts;
mod constructors;
mod deeds;
mod files;
mod glob;
mod indicators;
mod note;
mod playbook;
mod playbooks;
mod policy;
mod reach;
pub mod rights;
mod ruling;
mod script;
mod script_tests;
pub mod template;
mod window;

pub use alerts::{AlertMap, Mapped, Named};
pub use deeds::Deeds;
pub use files::{Loaded, ROUTE_ERRORS, RuleFiles, Rules};
pub use indicators::{
    Bands, Baseline, Bound, By, Catalogue, Check, Few, Indicator, MeshName, Queries, Reader, State, Trigger,
    Way,
};
pub use note::{Note, NoteSeverity};
pub use playbook::{Answer, Need, Next, Playbook};
pub use playbooks::Playbooks;
pub use policy::{APPROVAL_EXPIRES_S, BreakerRule, Limit, Per, Policy, Share, StormBound};
pub use reach::Reach;
pub use ruling::{Act, ApprovalRule, AttemptsRule, Concurrent, Policies, Ruling, StormRule};
pub use script::STACK;
pub use script_tests::TestResult;
pub use window::{Closed, Freeze, Says, Span, Timetable, Window, open_spans, opening};
