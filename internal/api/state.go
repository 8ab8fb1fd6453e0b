package api

// StateReport is what `bangerd state` finds in the state directory, as one line of
// JSON. All of it is about the records: what VMs run is the daemon's to say.
type StateReport struct {
	Database string `json:"database"` // its path; "" when there is none yet
	// Damage says why the database can't be used, and Hint what to type; both are
	// "" when it can be.
	Damage string `json:"damage,omitempty"`
	Hint   string `json:"hint,omitempty"`
	VMs    int    `json:"vms"` // records that can be read
	// Lost are VM directories without any record that can be read, Stale those
	// whose own copy of the record can't be: each with the reason.
	Lost  []string `json:"lost,omitempty"`
	Stale []string `json:"stale,omitempty"`
	// Fixed is what was mended, a sentence each. NotFixed says why nothing could be,
	// and then Hint what to type.
	Fixed    []string `json:"fixed,omitempty"`
	NotFixed string   `json:"not_fixed,omitempty"`
}
