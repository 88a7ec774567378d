"""The paper's user study (Section 4): of three pictures of a person one is generated; how often is it found?

triplets: what is shown · page: a file for participants and a key · answers: their result files · analysis and figure.
"""

from raytalk.evaluation.study.page import StudyFiles, make_study
from raytalk.evaluation.study.settings import AnalysisSettings, StudyJobSettings, TripletSettings

__all__ = ["AnalysisSettings", "StudyFiles", "StudyJobSettings", "TripletSettings", "make_study"]
