"""One family of losses a file; `registry` knows them by name.

All have the same inner shape: a public function that splits the evidence by the target, one formula of that
split, an optional regulariser, and the reduction; then the module form.
"""
