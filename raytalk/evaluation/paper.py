"""The paper's Table 1: what our tables are read beside."""

TITLE = "Zakharov et al. 2019, Table 1: other people and other data, so read beside, not against"
COLUMNS = ("FID", "SSIM", "CSIM", "USER")
ROWS: tuple[tuple[str, str, int, float, float, float, float], ...] = (
    ("VoxCeleb1", "X2Face", 1, 45.8, 0.68, 0.16, 0.82),
    ("VoxCeleb1", "Pix2pixHD", 1, 42.7, 0.56, 0.09, 0.82),
    ("VoxCeleb1", "Ours", 1, 43.0, 0.67, 0.15, 0.62),
    ("VoxCeleb1", "X2Face", 8, 51.5, 0.73, 0.17, 0.83),
    ("VoxCeleb1", "Pix2pixHD", 8, 35.1, 0.64, 0.12, 0.79),
    ("VoxCeleb1", "Ours", 8, 38.0, 0.71, 0.17, 0.62),
    ("VoxCeleb1", "X2Face", 32, 56.5, 0.75, 0.18, 0.85),
    ("VoxCeleb1", "Pix2pixHD", 32, 24.0, 0.70, 0.16, 0.71),
    ("VoxCeleb1", "Ours", 32, 29.5, 0.74, 0.19, 0.61),
    ("VoxCeleb2", "Ours-FF", 1, 46.1, 0.61, 0.42, 0.43),
    ("VoxCeleb2", "Ours-FT", 1, 48.5, 0.64, 0.35, 0.46),
    ("VoxCeleb2", "Ours-FF", 8, 42.2, 0.64, 0.47, 0.40),
    ("VoxCeleb2", "Ours-FT", 8, 42.2, 0.68, 0.42, 0.39),
    ("VoxCeleb2", "Ours-FF", 32, 40.4, 0.65, 0.48, 0.38),
    ("VoxCeleb2", "Ours-FT", 32, 30.6, 0.72, 0.45, 0.33),
)
"""data, method of the paper, T, FID, SSIM, CSIM, USER"""
