package settings

// maxRate is more than one Envoy serves, and so as good as no limit.
const maxRate = 1_000_000

// Limit is how much one user may do through one client: on average, and in one go.
type Limit struct{ PerSecond, Burst uint32 }

// parseLimit has no way to say "none": one user's flood would be everybody's outage.
func parseLimit(f *faults, s Settings) Limit {
	before := len(*f)
	l := Limit{
		PerSecond: uint32(parseCount(f, "EDGE_SUBJECT_RATE", s.SubjectRate, 1, maxRate)),
		Burst:     uint32(parseCount(f, "EDGE_SUBJECT_BURST", s.SubjectBurst, 1, maxRate)),
	}
	if len(*f) == before && l.Burst < l.PerSecond {
		f.add("EDGE_SUBJECT_BURST", "%d is less than EDGE_SUBJECT_RATE, %d, which nobody could then reach", l.Burst, l.PerSecond)
	}
	return l
}
