"""The committed board: records are added, verified, and made into tables, figures and pages."""
