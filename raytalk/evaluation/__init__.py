"""The paper's protocol (Section 4): how good a checkpoint is, measured on people it has never seen."""
