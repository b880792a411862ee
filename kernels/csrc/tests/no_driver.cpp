// A library that is not a CUDA driver.
extern "C" int crosscam_no_driver() { return 0; }
