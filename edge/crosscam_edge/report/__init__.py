"""What people look at after a run: annotated videos and one page that explains everything.

The two functions live in `report.video` (`render_videos`) and `report.html` (`write_report`).
"""
